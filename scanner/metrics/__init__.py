"""What is computed of the model's answers: the formulas, and the probes they need."""
