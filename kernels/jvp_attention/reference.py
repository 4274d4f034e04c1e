"""The closed form of attention with K tangents, in torch operators: what every kernel and every graph body must equal.

With scores s = scale q k^T, probabilities P = softmax(s), y = P v and s_dot = scale (q_dot k^T + q k_dot^T),

    y_dot = (P * s_dot) v - rowsum(P * s_dot) y + P v_dot
"""

import torch
from torch import Tensor


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

    Args:
        q: `[N, H, M, D]`; k `[N, H, S, D]`; v `[N, H, S, Dv]`.
        q_dot: tangents `[K, N, H, M, D]`, or None for zero; k_dot and v_dot likewise, shaped after k and v.
        scale: of the scores; default 1 / sqrt(D).

    Returns:
        y `[N, H, M, Dv]`, and y_dot `[K, N, H, M, Dv]`, or None where no input has a tangent.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    p = torch.softmax(scale * q @ k.mT, dim=-1)
    y = p @ v
    terms = []
    if q_dot is not None or k_dot is not None:
        s_dot = sum(scale * term for term in (_product(q_dot, k), _product(q, k_dot)) if term is not None)
        w = p * s_dot
        terms.append(w @ v - w.sum(-1, keepdim=True) * y)
    if v_dot is not None:
        terms.append(p @ v_dot)
    return y, sum(terms[1:], terms[0]) if terms else None


def _product(left: Tensor | None, right: Tensor | None) -> Tensor | None:
    return None if left is None or right is None else left @ right.mT
