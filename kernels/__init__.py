"""Attention with many tangents: reference formulas, and the kernels that must equal them."""
