"""The denoiser that every graph speaks: noise prediction eps, whatever the checkpoint was trained to predict.

What the network predicts is converted inside the graph (`prediction.py`), so that derivatives pass through the
conversion and no later part of memscan needs to know the prediction type.
"""

import math
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from memscan.export.checkpoint.edm import Preconditioning
from memscan.export.checkpoint.prediction import known_prediction, to_eps
from memscan.scanner.graph_names import AESTHETIC_SCORE, CHANNELS, GUIDANCE

_SIZES, _SIZES_AND_SCORE = 6, 5
"""Original height and width, top and left of the crop, target height and width; of a refiner, an aesthetic score in
place of the last two."""


class EpsDenoiser(torch.nn.Module):
    """A UNet as one function (sample, noise level, text) -> eps.

    Args:
        unet: the checkpoint's denoiser, in evaluation mode.
        prediction_type: what `unet` predicts, "epsilon", "v_prediction" or "flow_prediction".
        image_size: (H, W), for Stable Diffusion XL only: its denoiser is told that the image is of this size, was so
            before, and was not cropped.
        scored: whether it is a refiner, which is told an aesthetic score in place of the size that the image is of.
        edm: of a network that was trained with EDM's noise, which then predicts v.

    Raises:
        ExportError: another prediction type (`"sample"` has no eps at sigma = 0).
    """

    time_ids: torch.Tensor
    frequencies: torch.Tensor

    def __init__(
        self,
        unet: UNet2DConditionModel,
        prediction_type: str,
        image_size: tuple[int, int] | None = None,
        *,
        scored: bool = False,
        edm: Preconditioning | None = None,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.edm = edm
        self.prediction_type = known_prediction(prediction_type)
        self.scored = scored
        self.pooled_width = None if image_size is None else _pooled_width(unet, _SIZES_AND_SCORE if scored else _SIZES)
        self.channels = unet.config.in_channels - unet.config.out_channels
        self.guidance_width: int | None = unet.config.time_cond_proj_dim
        told = () if image_size is None else (*image_size, 0, 0) if scored else (*image_size, 0, 0, *image_size)
        self.register_buffer("time_ids", torch.tensor([told], dtype=torch.float32), persistent=False)
        self.register_buffer("frequencies", _frequencies(self.guidance_width or 0), persistent=False)
        self.train(unet.training)

    def input_shapes(
        self, batch: int, latent_shape: tuple[int, int, int], text_shape: tuple[int, int]
    ) -> dict[str, tuple[int, ...]]:
        """The inputs' names and shapes, in the order of `forward`.

        Args:
            latent_shape: (C, h, w).
            text_shape: (S, D), tokens and width of the text states.
        """
        shapes = {
            "sample": (batch, *latent_shape),
            "timestep": (batch,),
            "alpha": (batch,),
            "sigma": (batch,),
            "encoder_hidden_states": (batch, *text_shape),
        }
        if self.pooled_width is not None:
            shapes["text_embeds"] = batch, self.pooled_width
        if self.scored:
            shapes[AESTHETIC_SCORE] = (batch,)
        if self.guidance_width is not None:
            shapes[GUIDANCE] = (batch,)
        if self.channels:
            shapes[CHANNELS] = batch, self.channels, *latent_shape[1:]
        return shapes

    def predict(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        alpha: torch.Tensor,
        sigma: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        text_embeds: torch.Tensor | None = None,
        aesthetic_score: torch.Tensor | None = None,
        guidance: torch.Tensor | None = None,
        channels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the network itself predicts, `[N, C, h, w]`; the arguments are those of `forward`."""
        added: dict[str, Any] = {}
        if text_embeds is not None:
            sizes = self.time_ids.expand(sample.shape[0], -1)
            if aesthetic_score is not None:
                sizes = torch.cat([sizes, aesthetic_score[:, None]], dim=1)
            added["added_cond_kwargs"] = {"text_embeds": text_embeds, "time_ids": sizes}
        if guidance is not None:
            added["timestep_cond"] = self._embedded(guidance)
        seen = sample if self.edm is None else self.edm.seen(sample, alpha, sigma)
        seen = seen if channels is None else torch.cat([seen, channels], dim=1)
        prediction: torch.Tensor = self.unet(seen, timestep, encoder_hidden_states, return_dict=False, **added)[0]
        return prediction if self.edm is None else self.edm.to_v(prediction, sample, alpha, sigma)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        alpha: torch.Tensor,
        sigma: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        text_embeds: torch.Tensor | None = None,
        aesthetic_score: torch.Tensor | None = None,
        guidance: torch.Tensor | None = None,
        channels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict the noise in `sample`.

        Args:
            sample: x_t, `[N, C, h, w]`.
            timestep: training timesteps, `[N]`, whole or between two.
            alpha, sigma: the noise level that they stand for, `[N]`.
            encoder_hidden_states: text states, `[N, S, D]`.
            text_embeds: the pooled text embedding, `[N, P]`, of Stable Diffusion XL.
            aesthetic_score: what a refiner is told of the image, `[N]`.
            guidance: the scale of guidance, `[N]`, of a denoiser that guides itself.
            channels: what it takes beside the latents, `[N, X, h, w]`.

        Returns:
            eps, `[N, C, h, w]`.
        """
        prediction = self.predict(
            sample,
            timestep,
            alpha,
            sigma,
            encoder_hidden_states,
            text_embeds,
            aesthetic_score,
            guidance,
            channels,
        )
        return to_eps(self.prediction_type, prediction, sample, alpha, sigma)

    def _embedded(self, guidance: torch.Tensor) -> torch.Tensor:
        """`[N]` -> `[N, E]`, as diffusers has it for the models of Luo et al., arXiv 2310.04378; a scale of 1 is 0."""
        angles = (guidance - 1)[:, None] * 1000 * self.frequencies
        width: int = self.guidance_width or 0
        return torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, width % 2))


def _pooled_width(unet: UNet2DConditionModel, told: int) -> int:
    config = unet.config
    return int(config.projection_class_embeddings_input_dim - told * config.addition_time_embed_dim)


def _frequencies(width: int) -> torch.Tensor:
    """Of the embedding of a scale of guidance, as latent consistency models were trained with it."""
    half = width // 2
    return torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10_000.0) / max(half - 1, 1)))
