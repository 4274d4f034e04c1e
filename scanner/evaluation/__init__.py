"""Finished results against ground truth: overlap of masks, detection by scores."""
