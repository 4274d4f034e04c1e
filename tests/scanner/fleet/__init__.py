"""Runs by workers of a cluster."""
