"""The transformer of FLUX.1 as a function of latents: its pipeline packs squares of 2 x 2 of them into one token.

Packing, the ids of text and image tokens and the rotary embeddings that are made of them depend on the latents' size
alone, and are constants here. A guidance-distilled transformer is told the scale of guidance.
"""

import torch
from diffusers import FluxTransformer2DModel

_SIDE = 2
"""Of a token, in cells of latents."""


class PackedFlux(torch.nn.Module):
    """A transformer as a function of latents, as `FlowDenoiser` takes it.

    Args:
        transformer: in evaluation mode; its rotary embeddings are made constant in place.
        latent_shape: (C, h, w); h and w are even.
        tokens: S, of text.
    """

    def __init__(self, transformer: FluxTransformer2DModel, latent_shape: tuple[int, int, int], tokens: int) -> None:
        super().__init__()
        self.transformer = transformer
        self.grid = latent_shape[1] // _SIDE, latent_shape[2] // _SIDE
        self.register_buffer("text_ids", torch.zeros(tokens, 3), persistent=False)
        self.register_buffer("image_ids", _image_ids(*self.grid), persistent=False)
        ids = torch.cat([self.text_ids, self.image_ids])
        transformer.pos_embed = _ConstantEmbedding(*transformer.pos_embed(ids))
        self.train(transformer.training)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        states: torch.Tensor,
        pooled: torch.Tensor,
        guidance: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """sample [N, C, h, w], timestep [N], states [N, S, D], pooled [N, P], guidance [N] -> v [N, C, h, w]."""
        v: torch.Tensor = self.transformer(
            hidden_states=self._packed(sample),
            timestep=timestep / 1000,  # which the transformer multiplies again
            guidance=guidance,
            encoder_hidden_states=states,
            pooled_projections=pooled,
            txt_ids=self.text_ids,
            img_ids=self.image_ids,
            return_dict=False,
        )[0]
        return self._unpacked(v)

    def _packed(self, latents: torch.Tensor) -> torch.Tensor:
        """[N, C, h, w] -> [N, h/2 * w/2, C * 4]."""
        rows, columns = self.grid
        squares = latents.unflatten(2, (rows, _SIDE)).unflatten(4, (columns, _SIDE))
        return squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def _unpacked(self, tokens: torch.Tensor) -> torch.Tensor:
        """[N, h/2 * w/2, C * 4] -> [N, C, h, w]."""
        squares = tokens.unflatten(1, self.grid).unflatten(3, (-1, _SIDE, _SIDE))
        return squares.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


class _ConstantEmbedding(torch.nn.Module):
    """Cosine and sine of the rotary embedding, [S + tokens of the image, head size], whatever the ids."""

    cosine: torch.Tensor
    sine: torch.Tensor

    def __init__(self, cosine: torch.Tensor, sine: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.cosine, self.sine


def _image_ids(rows: int, columns: int) -> torch.Tensor:
    """(0, row, column) of each token, [rows * columns, 3]."""
    ids = torch.zeros(rows, columns, 3)
    ids[..., 1] += torch.arange(rows)[:, None]
    ids[..., 2] += torch.arange(columns)
    return ids.flatten(0, 1)
