"""A torch denoiser whose derivative leaves out what a cut leaves out: the same values, with `detach` along the way.

Places are found by the modules of diffusers, where `autodiff.cut` finds them by operators and shapes of the graph.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from memscan.export.autodiff.cut import Cut


@contextlib.contextmanager
def detached(unet: UNet2DConditionModel, cut: Cut) -> Iterator[None]:
    """While it lasts, forward mode differentiates `unet` along the paths that `cut` leaves alone.

    Attention is computed head by head, in operators that torch differentiates forwards. It carries tangents everywhere
    where the cut has transformer blocks.
    """
    assert cut.attention == (0, 1)
    processors = unet.attn_processors
    with contextlib.ExitStack() as stack:
        for module, hook in _hooks(unet, cut):
            stack.enter_context(module.register_forward_hook(hook))
        unet.set_attn_processor(AttentionByHead(hold_weights=cut.hold_weights))
        try:
            yield
        finally:
            unet.set_attn_processor(processors)


def _hooks(unet: UNet2DConditionModel, cut: Cut) -> Iterator[tuple[nn.Module, Any]]:
    if cut.levels is not None:
        for block in unet.down_blocks[cut.levels - 1 : cut.levels]:
            for downsampler in block.downsamplers or ():
                yield downsampler, _detach
    for module in unet.modules():
        if isinstance(module, BasicTransformerBlock) and not cut.transformers:
            yield module, _detach
        if isinstance(module, nn.GroupNorm | nn.LayerNorm) and cut.hold_statistics:
            yield module, _hold_statistics


def _detach(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.detach()


def _hold_statistics(norm: nn.GroupNorm | nn.LayerNorm, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    (x,) = args
    if isinstance(norm, nn.LayerNorm):
        grouped, over = x, tuple(range(-len(norm.normalized_shape), 0))
        weight, bias = norm.weight, norm.bias
    else:
        grouped, over = x.unflatten(1, (norm.num_groups, -1)), tuple(range(2, x.ndim + 1))
        weight, bias = (vector.view(-1, *[1] * (x.ndim - 2)) for vector in (norm.weight, norm.bias))
    variance, mean = torch.var_mean(grouped.detach(), over, correction=0, keepdim=True)
    return ((grouped - mean) * (variance + norm.eps).rsqrt()).view_as(x) * weight + bias


class AttentionByHead:
    """An attention processor of operators that torch differentiates forwards, with the scores of one head.

    A head of 4,096 tokens has scores of 67 MB in float32, and forward mode holds several such tensors.

    Args:
        hold_weights: queries and keys have no tangents.
    """

    def __init__(self, *, hold_weights: bool = False) -> None:
        self._hold_weights = hold_weights

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Args as diffusers passes them: hidden_states `[N, M, C]`, encoder_hidden_states `[N, S, D]` or None."""
        assert attention_mask is None
        states = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(states), attn.to_v(states)
        if self._hold_weights:
            query, key = query.detach(), key.detach()
        heads = [
            torch.softmax(attn.scale * (q @ k.transpose(1, 2)), dim=-1) @ v  # [N, M, D]
            for q, k, v in zip(*(x.chunk(attn.heads, dim=-1) for x in (query, key, value)), strict=True)
        ]
        out: Tensor = attn.to_out[0](torch.cat(heads, dim=-1))
        return out
