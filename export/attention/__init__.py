"""Attention as ONNX local functions: bodies of plain operators, and bodies in slices for CPUs."""
