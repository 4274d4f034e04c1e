"""Attention forward and K tangents at once."""
