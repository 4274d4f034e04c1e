"""The denoiser that every graph speaks: noise prediction eps, whatever the checkpoint was trained to predict.

A model with v-prediction is converted inside the graph, eps = alpha v + sigma x_t (Salimans and Ho, arXiv 2202.00512,
with x_t = alpha x_0 + sigma noise and v = alpha noise - sigma x_0), so that derivatives pass through the conversion and
no later part of memscan needs to know the prediction type.
"""

from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel

from memscan.scanner.errors import ExportError


class EpsDenoiser(torch.nn.Module):
    """A UNet and its noise schedule as one function (sample, timestep, text) -> eps.

    Args:
        unet: the checkpoint's denoiser, in evaluation mode.
        prediction_type: what `unet` predicts, "epsilon" or "v_prediction".
        alphas_cumprod: alpha^2 at each training timestep; sigma^2 = 1 - alpha^2.

    Raises:
        ExportError: another prediction type (`"sample"` has no eps at sigma = 0).
    """

    alpha: torch.Tensor
    sigma: torch.Tensor

    def __init__(
        self,
        unet: UNet2DConditionModel,
        prediction_type: str,
        alphas_cumprod: Sequence[float] | torch.Tensor,
    ) -> None:
        super().__init__()
        if prediction_type not in ("epsilon", "v_prediction"):
            raise ExportError(f"prediction type {prediction_type!r} is not supported: need epsilon or v_prediction")
        self.unet = unet
        self.prediction_type = prediction_type
        alphas_cumprod = torch.as_tensor(alphas_cumprod, dtype=torch.float64)
        self.register_buffer("alpha", alphas_cumprod.sqrt().float(), persistent=False)
        self.register_buffer("sigma", (1 - alphas_cumprod).sqrt().float(), persistent=False)
        self.train(unet.training)

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor
    ) -> torch.Tensor:
        """Predict the noise in `sample`.

        Args:
            sample: x_t, `[N, C, h, w]`.
            timestep: training timesteps, `[N]` int64.
            encoder_hidden_states: text states, `[N, S, D]`.

        Returns:
            eps, `[N, C, h, w]`.
        """
        prediction: torch.Tensor = self.unet(sample, timestep, encoder_hidden_states, return_dict=False)[0]
        if self.prediction_type == "epsilon":
            return prediction
        alpha = self.alpha[timestep][:, None, None, None]
        sigma = self.sigma[timestep][:, None, None, None]
        return alpha * prediction + sigma * sample
