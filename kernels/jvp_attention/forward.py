"""Attention's forward pass by torch's fused kernels, with the log-sum-exp of the scores, which they return beside it.

torch chooses among cuDNN, flash and memory-efficient attention by device, type and size, as it does for its own
scaled_dot_product_attention; where it has no fused kernel, the scores are held.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

Forward = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]

_MULTIPLE = 8
"""Fused kernels take heads of a multiple of so many values."""


def attention_forward(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """softmax(scale q k^T) v, and what the softmax divided by.

    Args:
        q: `[N, H, M, D]`; k and v `[N, H, S, D]`; float16, bfloat16 or float32; neighbouring columns are adjacent.
        scale: of the scores.

    Returns:
        y `[N, H, M, D]`, and log sum exp(scale q k^T) `[N, H, M]`, natural, float32.
    """
    size = q.shape[-1]
    if size % _MULTIPLE:
        q, k, v = (torch.nn.functional.pad(x, (0, -size % _MULTIPLE)) for x in (q, k, v))
    choice = SDPBackend(torch._fused_sdp_choice(q, k, v, scale=scale))
    on_cpu = choice == SDPBackend.FLASH_ATTENTION and q.device.type == "cpu"
    forward = _cpu_flash if on_cpu else _FORWARDS.get(choice, _unfused)
    y, lse = forward(q, k, v, scale)
    # cuDNN's statistics have a last axis of 1, and memory-efficient attention's are padded to a multiple of 32 queries
    return y[..., :size], lse.flatten(2)[..., : q.shape[2]]


def _cpu_flash(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    y, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, scale=scale)
    return y, lse


def _flash(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    y, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, scale=scale)
    return y, lse


def _efficient(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    y, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True, scale=scale)
    return y, lse


def _cudnn(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    y, lse, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, scale=scale)
    return y, lse


def _unfused(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    scores = scale * q.float() @ k.float().mT
    lse = torch.logsumexp(scores, -1)
    y = (scores - lse[..., None]).exp() @ v.float()
    return y.to(q.dtype), lse


_FORWARDS: dict[SDPBackend, Forward] = {
    SDPBackend.FLASH_ATTENTION: _flash,
    SDPBackend.EFFICIENT_ATTENTION: _efficient,
    SDPBackend.CUDNN_ATTENTION: _cudnn,
}
