"""The scan of one batch: the trajectory, and what is measured on it; it alone speaks to the device."""
