"""What the graphs of a bundle mean: text, steps, measurements, pictures."""
