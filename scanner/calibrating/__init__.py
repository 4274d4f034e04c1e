"""Making a calibration: scans of the very model, in process, and what `calibration` makes of their results."""
