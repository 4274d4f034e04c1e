"""Attention with many tangents: reference formulas, and the kernels that must equal them."""

if __name__ != "memscan.kernels":
    # transformers and diffusers try `import kernels`, a package of that name, and fall back if there is none. From the
    # repository root they would find this folder instead.
    raise ImportError(f"this is memscan.kernels, not {__name__}")
