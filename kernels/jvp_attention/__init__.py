"""Attention forward and K tangents at once."""

from memscan.kernels.jvp_attention.reference import jvp_attention

__all__ = ["jvp_attention"]
