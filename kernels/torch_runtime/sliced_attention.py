"""Attention with tangents on any device: torch and our kernel on CUDA; elsewhere the reference, in slices.

On the CPU the reference would hold the scores of all tangents at once, `[K, N, H, M, S]`: 4 GiB at 4,096 tokens, 8
heads and 8 tangents, several times over. A row of the result depends on its own row of queries only, so heads and rows
can be taken in slices of a few megabytes. Half precision is computed in float32, as the kernel's sums are.
"""

from torch import Tensor

from memscan.kernels.jvp_attention import jvp_attention

_SCORES = 2**20
"""How many scores of all tangents together a slice may have."""


def attention_with_tangents(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_dot: Tensor,
    k_dot: Tensor | None,
    v_dot: Tensor | None,
    *,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Attention and its directional derivatives; shapes and formula as in `jvp_attention`."""
    if q.device.type != "cpu":
        y, y_dot = jvp_attention(q, k, v, q_dot, k_dot, v_dot, scale=scale)
        assert y_dot is not None
        return y, y_dot
    num_tangents, (batch, heads, queries, _) = len(q_dot), q.shape
    y = q.new_empty(batch, heads, queries, v.shape[-1])
    y_dot = q.new_empty(num_tangents, *y.shape)
    rows = max(1, min(queries, _SCORES // (num_tangents * k.shape[-2])))
    heads_at_once = max(1, _SCORES // (num_tangents * rows * k.shape[-2]))
    for n in range(batch):
        for head in range(0, heads, heads_at_once):
            h = slice(head, head + heads_at_once)
            keys = [None if x is None else x[..., n : n + 1, h, :, :].float() for x in (k, v, k_dot, v_dot)]
            for row in range(0, queries, rows):
                m = slice(row, row + rows)
                left, left_dot = (x[..., n : n + 1, h, m, :].float() for x in (q, q_dot))
                part, part_dot = jvp_attention(left, keys[0], keys[1], left_dot, keys[2], keys[3], scale=scale)
                y[n : n + 1, h, m] = part
                y_dot[:, n : n + 1, h, m] = part_dot
    return y, y_dot
