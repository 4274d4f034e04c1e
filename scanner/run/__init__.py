"""A run: its job, its parts, and the stages that keep the device busy."""
