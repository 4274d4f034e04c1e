"""What `detached` does, for a transformer: the same values, with `detach` along the way.

Joint attention is computed by processors that differ from model to model, but all call torch's function, which is
intercepted here.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from diffusers.models.normalization import RMSNorm
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from memscan.export.autodiff.cut import Cut


@contextlib.contextmanager
def detached_transformer(network: nn.Module, cut: Cut) -> Iterator[None]:
    """While it lasts, forward mode differentiates `network` along the paths that `cut` leaves alone.

    Args:
        cut: without levels and with transformer blocks: there is no downsampling, and nothing beside the blocks. Its
            attention carries tangents everywhere or nowhere.
    """
    assert cut.levels is None and cut.transformers and cut.attention in ((0, 0), (0, 1))
    with contextlib.ExitStack() as stack:
        if cut.hold_statistics:
            for module in network.modules():
                if isinstance(module, nn.LayerNorm | RMSNorm):
                    stack.enter_context(module.register_forward_hook(_hold_statistics))
        held = 3 if cut.attention == (0, 0) else 2 if cut.hold_weights else 0
        stack.enter_context(_ByHead(held))
        yield


class _ByHead(TorchFunctionMode):
    """Attention in operators that torch differentiates forwards, with the scores of one head at a time.

    Args:
        held: how many of query, key and value have no tangent.
    """

    def __init__(self, held: int) -> None:
        super().__init__()
        self._held = held

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        return func(*args, **kwargs)

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """query `[N, H, M, D]`, key and value `[N, H, S, D]` -> `[N, H, M, D]`."""
        assert attn_mask is None and not dropout_p and not is_causal and not enable_gqa
        scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        inputs = [x.detach() if index < self._held else x for index, x in enumerate((query, key, value))]
        heads = [
            torch.softmax(scale * (q @ k.transpose(1, 2)), dim=-1) @ v
            for q, k, v in zip(*(x.unbind(1) for x in inputs), strict=True)
        ]
        return torch.stack(heads, dim=1)


def _hold_statistics(norm: nn.LayerNorm | RMSNorm, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    (x,) = args
    held = x.detach()
    if isinstance(norm, nn.LayerNorm):
        over = tuple(range(-len(norm.normalized_shape), 0))
        variance, mean = torch.var_mean(held, over, correction=0, keepdim=True)
        x = x - mean
    else:
        variance = held.square().mean(-1, keepdim=True)
    y = x * (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        y = y * norm.weight
    return y if norm.bias is None else y + norm.bias
