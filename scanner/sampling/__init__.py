"""Noise, noise levels and samplers."""
