"""What a torch denoiser attends to in the text, and its bottleneck's activation, told by diffusers' own modules.

Places are found by the modules' names, where `graphs.observe` finds them by operators and shapes of the graph.
"""

import contextlib
import math
from collections.abc import Iterator

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

_WAY_DOWN = "down_blocks"


class Observed:
    """What one call of a denoiser showed.

    `weights` are those of cross-attention, mean over heads, [N, M, S] by the layer's name, in the order of the layers;
    `bottleneck` is what left the middle block, [N, C, h', w'], None without one.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.bottleneck: Tensor | None = None

    def outputs(self, latent_shape: tuple[int, int, int]) -> dict[str, Tensor]:
        """The outputs of `observe.onnx` that this denoiser has, by name."""
        found: dict[str, Tensor] = {}
        down = [weights for name, weights in self.weights.items() if name.startswith(_WAY_DOWN)]
        if down:
            finest = max(weights.shape[1] for weights in down)
            maps = torch.stack([weights[:, :, -1] for weights in down if weights.shape[1] == finest]).mean(0)
            image = maps.unflatten(1, _size(finest, latent_shape))[:, None]
            found["last_token_attention"] = nn.functional.interpolate(image, latent_shape[1:], mode="bilinear")
        if self.weights:
            found["token_attention"] = torch.stack([each.mean(1) for each in self.weights.values()]).mean(0)
        if self.bottleneck is not None:
            found["bottleneck"] = self.bottleneck
        return found


@contextlib.contextmanager
def observed(unet: UNet2DConditionModel) -> Iterator[Observed]:
    """While it lasts, a call of `unet` is observed."""
    seen = Observed()
    processors = unet.attn_processors
    with contextlib.ExitStack() as stack:
        if unet.mid_block is not None:

            def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
                seen.bottleneck = output

            stack.callback(unet.mid_block.register_forward_hook(keep).remove)
        stack.callback(unet.set_attn_processor, processors)
        unet.set_attn_processor({name: _Watched(name, seen) for name in processors})
        yield seen


class _Watched:
    """An attention processor that keeps the mean over heads of the weights of cross-attention."""

    def __init__(self, name: str, seen: Observed) -> None:
        self._name, self._seen = name, seen

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
        heads, total = [], torch.zeros(())
        operands = attn.to_q(hidden_states), attn.to_k(states), attn.to_v(states)
        for q, k, v in zip(*(x.chunk(attn.heads, dim=-1) for x in operands), strict=True):
            weights = torch.softmax(attn.scale * (q @ k.transpose(1, 2)), dim=-1)  # [N, M, S]
            heads.append(weights @ v)
            if encoder_hidden_states is not None:
                total = total + weights
        if encoder_hidden_states is not None:
            self._seen.weights[self._name] = total / attn.heads
        out: Tensor = attn.to_out[0](torch.cat(heads, dim=-1))
        return out


def _size(positions: int, latent_shape: tuple[int, int, int]) -> tuple[int, int]:
    """(h', w'): a denoiser halves its image some times, and rounds up."""
    height, width = latent_shape[1:]
    while height * width > positions:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    return height, width
