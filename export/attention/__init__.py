"""Attention as ONNX local functions: whole bodies, which form all scores at once, and sliced ones for CPUs."""
