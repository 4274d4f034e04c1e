"""Attention of which only the values have tangents: y_dot = P v_dot, attention of the values' tangents.

On CUDA it is the vendor's fused attention with K folded into the batch: all K + 1 have the same queries and keys, which
it reads again for each, and no scores are ever held. Elsewhere a slice of P is made once for all of them, which lie
side by side in one product; half precision is computed in float32 there.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

_SCORES = 2**20
"""How many scores a slice may have."""


def attention_of_values(q: Tensor, k: Tensor, v: Tensor, v_dot: Tensor, *, scale: float) -> tuple[Tensor, Tensor]:
    """Attention, and its directional derivatives where queries and keys are constant.

    Args:
        q: `[N, H, M, D]`; k `[N, H, S, D]`; v `[N, H, S, Dv]`.
        v_dot: tangents `[K, N, H, S, Dv]`.
        scale: of the scores.

    Returns:
        y `[N, H, M, Dv]` and y_dot `[K, N, H, M, Dv]`.
    """
    values = torch.cat([v[None], v_dot])
    y = _folded(q, k, values, scale) if q.is_cuda else _in_slices(q, k, values, scale)
    return y[0], y[1:]


def _folded(q: Tensor, k: Tensor, values: Tensor, scale: float) -> Tensor:
    count = len(values)
    folded = [x.expand(count, *x.shape).flatten(0, 1) for x in (q, k)]
    y = scaled_dot_product_attention(*folded, values.flatten(0, 1), scale=scale)
    return y.unflatten(0, (count, -1))


def _in_slices(q: Tensor, k: Tensor, values: Tensor, scale: float) -> Tensor:
    count, batch, heads, keys, width = values.shape
    side_by_side = values.permute(1, 2, 3, 0, 4).flatten(3).float()  # [N, H, S, (K + 1) Dv]
    transposed = k.mT.float() * scale
    rows = max(1, _SCORES // (batch * heads * keys))
    parts = [torch.softmax(part.float() @ transposed, -1) @ side_by_side for part in q.split(rows, dim=2)]
    y = torch.cat(parts, dim=2).unflatten(3, (count, width))
    return y.permute(3, 0, 1, 2, 4).to(values.dtype)
