"""Attention and K tangents: torch's fused forward pass and our kernel on CUDA, the closed form elsewhere."""

import torch
from torch import Tensor

from memscan.kernels.jvp_attention import reference
from memscan.kernels.jvp_attention.tiles import tile_for

__all__ = ["jvp_attention"]

FUSED_TYPES = (torch.float16, torch.bfloat16, torch.float32)


def jvp_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_dot: Tensor | None = None,
    k_dot: Tensor | None = None,
    v_dot: Tensor | None = None,
    *,
    scale: float | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Attention and its directional derivatives.

    On CUDA torch's fused forward pass and the Triton kernel run for heads of up to 160 values, in float32 up to 80,
    with no memory that grows with M times S (where torch has a fused form, which is on all GPUs that Triton serves, if
    none was disabled). Larger heads, other types and the CPU take the closed form, which holds `[K, N, H, M, S]`.

    Args:
        q: `[N, H, M, D]`; k and v `[N, H, S, D]`.
        q_dot: tangents `[K, N, H, M, D]`, or None for zero; k_dot and v_dot likewise, shaped after k and v.
            None costs nothing: in cross-attention keys and values have no tangents.
        scale: of the scores, positive; default 1 / sqrt(D).

    Returns:
        y `[N, H, M, D]`, and y_dot `[K, N, H, M, D]`, or None where no input has a tangent.

    Raises:
        ValueError: on CUDA, if shapes or types do not fit together or the scale is not positive.
    """
    if q_dot is None and k_dot is None and v_dot is None:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale), None
    if q.is_cuda and q.dtype in FUSED_TYPES:
        keys_have_tangents = k_dot is not None or v_dot is not None
        capability = torch.cuda.get_device_capability(q.device)
        tile = tile_for(q.shape[-1], q.element_size(), keys_have_tangents, capability)
        if tile is not None:
            # Triton is not installed everywhere.
            from memscan.kernels.jvp_attention.launch import fused_jvp_attention

            return fused_jvp_attention(q, k, v, q_dot, k_dot, v_dot, scale=scale, tile=tile)
    return reference.jvp_attention(q, k, v, q_dot, k_dot, v_dot, scale=scale)
