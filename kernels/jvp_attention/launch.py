"""From tensors to one launch of the kernel: centring, layouts, the forward pass, the bound of float16, the grid.

Half precision is centred first. A common part of all keys moves the scores of a query alike, and their tangents:
softmax and y_dot ignore that, but p s_dot rounded to half precision would carry it. A common part of all values comes
out of the softmax unchanged: y_dot ignores it, but y rounded to half precision would carry it into mu y. Either would
lose by cancellation what is small beside it.

Nothing here waits for the device or tunes at call time, so that a CUDA graph can capture the call, once a first call
has compiled the kernel.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from memscan.kernels.jvp_attention.forward import attention_forward
from memscan.kernels.jvp_attention.kernel import attention_jvp_kernel
from memscan.kernels.jvp_attention.tiles import Tile, column_blocks


def fused_jvp_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_dot: Tensor | None = None,
    k_dot: Tensor | None = None,
    v_dot: Tensor | None = None,
    *,
    scale: float | None = None,
    tile: Tile,
) -> tuple[Tensor, Tensor]:
    """Attention by torch's fused forward pass, and K directional derivatives by the Triton kernel.

    Args:
        q: `[N, H, M, D]`; k and v `[N, H, S, D]`; float16, bfloat16 or float32, all alike. Any strides, but tensors
            whose columns are not adjacent are copied, and so are k, v, k_dot and v_dot if their row strides differ.
        q_dot: tangents `[K, N, H, M, D]`, or None for zero; k_dot and v_dot likewise, shaped after k and v.
        scale: of the scores, positive; default 1 / sqrt(D).
        tile: what one program holds.

    Returns:
        y `[N, H, M, D]`, and y_dot `[K, N, H, M, D]`, in memory with heads beside D, so that the projection that
        follows reads it without a copy.

    Raises:
        ValueError: shapes or types do not fit together, there is no tangent, or the scale is not positive.
    """
    _require_fitting(q, k, v, q_dot, k_dot, v_dot)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if scale <= 0:
        raise ValueError(f"the scale of the scores must be positive, not {scale}: the bound of float16 relies on it")
    centre = None
    if q.dtype != torch.float32:
        k, k_dot, centre = _centred(k), _centred(k_dot), _centre_of_values(v)
        v = v - centre
    q, q_dot = _rows_of_columns(q), _rows_of_columns(q_dot)
    k, v, k_dot, v_dot = _equally_spaced([k, v, k_dot, v_dot])
    y, lse = attention_forward(q, k, v, scale)
    arguments = kernel_arguments(q, k, v, q_dot, k_dot, v_dot, y, lse, scale=scale, tile=tile)
    groups = math.ceil(arguments["K"] / arguments["G"])
    grid = (math.ceil(q.shape[2] / tile.queries) * groups * q.shape[0] * q.shape[1],)
    with torch.cuda.device_of(q):
        attention_jvp_kernel[grid](**arguments, num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=True)
    return y if centre is None else y + centre, arguments["p_y_dot"].transpose(2, 3)


def kernel_arguments(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_dot: Tensor | None,
    k_dot: Tensor | None,
    v_dot: Tensor | None,
    y: Tensor,
    lse: Tensor,
    *,
    scale: float,
    tile: Tile,
) -> dict[str, Any]:
    """What `fused_jvp_attention` passes to the kernel, by parameter name, the new output included.

    Works on tensors of the meta device too, for compiling without a GPU.

    Args:
        q: `[N, H, M, D]` and the other operands as the kernel takes them: columns adjacent, k, v, k_dot and v_dot with
            one row stride.
        y: `[N, H, M, D]`, and lse `[N, H, M]`: what `attention_forward` gave for q, k and v.
    """
    (count,) = {len(x) for x in (q_dot, k_dot, v_dot) if x is not None}
    batch, heads, queries, size = q.shape
    y, lse = _rows_of_columns(y), _rows_of_columns(lse)
    tensors = [x for x in (q, k, v, q_dot, k_dot, v_dot, y) if x is not None]
    alignment = math.gcd(16 // q.element_size(), *(stride for x in tensors for stride in x.stride()[:-1]))
    bounded = q.dtype == torch.float16 and (q_dot is not None or k_dot is not None)

    def strides(x: Tensor | None) -> tuple[int, ...] | None:
        return None if x is None else tuple(stride // alignment for stride in x.stride()[:-2])

    def row(x: Tensor | None) -> int | None:
        return None if x is None else x.stride(-2) // alignment

    return {
        "p_q": q,
        "p_k": k,
        "p_v": v,
        "p_q_dot": q_dot,
        "p_k_dot": k_dot,
        "p_v_dot": v_dot,
        "p_y": y,
        "p_lse": lse,
        "p_y_dot": torch.empty(count, batch, queries, heads, size, dtype=q.dtype, device=q.device),
        "p_k_max": _largest(k) if bounded else None,
        "p_k_dot_max": _largest(k_dot) if bounded and k_dot is not None else None,
        "q_strides": strides(q),
        "k_strides": strides(k),
        "v_strides": strides(v),
        "q_dot_strides": strides(q_dot),
        "k_dot_strides": strides(k_dot),
        "v_dot_strides": strides(v_dot),
        "y_strides": strides(y),
        "lse_strides": lse.stride()[:-1],
        "q_row": row(q),
        "q_dot_row": row(q_dot),
        "y_row": row(y),
        "key_row": row(k),
        "K": count,
        "N": batch,
        "H": heads,
        "M": queries,
        "S": k.shape[2],
        "scale": scale,
        "D": size,
        "BLOCKS": column_blocks(size),
        "BM": tile.queries,
        "BS": tile.keys,
        "EVEN": k.shape[2] % tile.keys == 0,
        "G": math.ceil(count / math.ceil(count / tile.tangents)),
        "ALIGNMENT": alignment,
        "PRECISION": "tf32x3",
    }


def _require_fitting(
    q: Tensor, k: Tensor, v: Tensor, q_dot: Tensor | None, k_dot: Tensor | None, v_dot: Tensor | None
) -> None:
    keys = (*q.shape[:2], k.shape[2], q.shape[3])
    expected = {"k": (k, keys), "v": (v, keys)}
    tangents = {"q_dot": (q_dot, q.shape), "k_dot": (k_dot, keys), "v_dot": (v_dot, keys)}
    counts = [x.shape[0] for x, _ in tangents.values() if x is not None]
    if not counts:
        raise ValueError("no tangent was given: use torch's scaled_dot_product_attention")
    expected |= {name: (x, (counts[0], *shape)) for name, (x, shape) in tangents.items() if x is not None}
    for name, (x, shape) in expected.items():
        if tuple(x.shape) != tuple(shape) or x.dtype != q.dtype or x.device != q.device:
            raise ValueError(
                f"{name} is {x.dtype} {list(x.shape)} on {x.device}; "
                f"beside q, {q.dtype} {list(q.shape)} on {q.device}, it must be {q.dtype} {list(shape)} there"
            )


def _centred(keys: Tensor | None) -> Tensor | None:
    return None if keys is None else keys - keys.mean(-2, keepdim=True)


def _centre_of_values(v: Tensor) -> Tensor:
    """The mean over the tokens, `[N, H, 1, D]`, in multiples of the last place of each column's largest value.

    What is subtracted from such multiples is not rounded. Any other mean would round all values of one magnitude in the
    same direction, which does not average out in y.
    """
    mean = v.mean(-2, keepdim=True, dtype=torch.float32)
    largest = torch.linalg.vector_norm(v, ord=math.inf, dim=-2, keepdim=True, dtype=torch.float32)
    last_place = torch.finfo(v.dtype).eps * torch.exp2(torch.frexp(largest).exponent - 1.0)
    return (torch.round(mean / last_place) * last_place).to(v.dtype)


def _rows_of_columns(x: Tensor | None) -> Tensor | None:
    return x if x is None or x.stride(-1) == 1 else x.contiguous()


def _equally_spaced(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    tensors = [_rows_of_columns(x) for x in tensors]
    if len({x.stride(-2) for x in tensors if x is not None}) == 1:
        return tensors
    return [None if x is None else x.contiguous() for x in tensors]


def _largest(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, ord=math.inf, dim=(-2, -1), dtype=torch.float32)
