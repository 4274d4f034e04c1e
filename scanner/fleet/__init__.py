"""Starts workers on many machines, each with shares of a run."""
