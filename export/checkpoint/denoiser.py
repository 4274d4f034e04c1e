"""The denoiser that every graph speaks: noise prediction eps, whatever the checkpoint was trained to predict.

What the network predicts is converted inside the graph (`prediction.py`), so that derivatives pass through the
conversion and no later part of memscan needs to know the prediction type.
"""

import torch
from diffusers import UNet2DConditionModel

from memscan.export.checkpoint.edm import Preconditioning
from memscan.export.checkpoint.prediction import known_prediction, to_eps

_SIZES = 6
"""Original height and width, top and left of the crop, target height and width."""


class EpsDenoiser(torch.nn.Module):
    """A UNet as one function (sample, noise level, text) -> eps.

    Args:
        unet: the checkpoint's denoiser, in evaluation mode.
        prediction_type: what `unet` predicts, "epsilon", "v_prediction" or "flow_prediction".
        image_size: (H, W), for Stable Diffusion XL only: its denoiser is told that the image is of this size, was so
            before, and was not cropped.
        edm: of a network that was trained with EDM's noise, which then predicts v.

    Raises:
        ExportError: another prediction type (`"sample"` has no eps at sigma = 0).
    """

    time_ids: torch.Tensor

    def __init__(
        self,
        unet: UNet2DConditionModel,
        prediction_type: str,
        image_size: tuple[int, int] | None = None,
        edm: Preconditioning | None = None,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.edm = edm
        self.prediction_type = known_prediction(prediction_type)
        self.pooled_width = None if image_size is None else _pooled_width(unet)
        sizes = torch.tensor([[*image_size, 0, 0, *image_size]] if image_size else [[]], dtype=torch.float32)
        self.register_buffer("time_ids", sizes, persistent=False)
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
        return shapes if self.pooled_width is None else {**shapes, "text_embeds": (batch, self.pooled_width)}

    def predict(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        alpha: torch.Tensor,
        sigma: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        text_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the network itself predicts, `[N, C, h, w]`; the arguments are those of `forward`."""
        added = {}
        if text_embeds is not None:
            sizes = self.time_ids.expand(sample.shape[0], -1)
            added = {"added_cond_kwargs": {"text_embeds": text_embeds, "time_ids": sizes}}
        seen = sample if self.edm is None else self.edm.seen(sample, alpha, sigma)
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
    ) -> torch.Tensor:
        """Predict the noise in `sample`.

        Args:
            sample: x_t, `[N, C, h, w]`.
            timestep: training timesteps, `[N]`, whole or between two.
            alpha, sigma: the noise level that they stand for, `[N]`.
            encoder_hidden_states: text states, `[N, S, D]`.
            text_embeds: the pooled text embedding, `[N, P]`, of Stable Diffusion XL.

        Returns:
            eps, `[N, C, h, w]`.
        """
        prediction = self.predict(sample, timestep, alpha, sigma, encoder_hidden_states, text_embeds)
        return to_eps(self.prediction_type, prediction, sample, alpha, sigma)


def _pooled_width(unet: UNet2DConditionModel) -> int:
    config = unet.config
    return int(config.projection_class_embeddings_input_dim - _SIZES * config.addition_time_embed_dim)
