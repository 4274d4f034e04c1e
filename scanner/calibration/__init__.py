"""Thresholds that hold for one model, map, noise level and sampler."""
