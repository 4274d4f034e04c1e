"""A transformer that was trained by flow matching, as the denoiser that every graph speaks: noise prediction eps.

With x = alpha x_0 + sigma noise, alpha = 1 - s and sigma = s, it predicts v = noise - x_0, so that eps = x + alpha v
(Esser et al., arXiv 2403.03206; Lipman et al., arXiv 2210.02747). In memscan's unit that gives
h = sigma diag(d eps / d x) = s (1 + (1 - s) diag(d v / d x)).
"""

import torch

from memscan.export.checkpoint.prediction import to_eps
from memscan.scanner.bundle import Prediction
from memscan.scanner.graph_names import GUIDANCE


class FlowDenoiser(torch.nn.Module):
    """A transformer as one function (sample, noise level, text) -> eps.

    Args:
        network: `network(sample [N, C, h, w], timestep [N], states [N, S, D], pooled [N, P]) -> v [N, C, h, w]`, the
            checkpoint's transformer behind what its pipeline does to the latents, in evaluation mode.
        pooled_width: P, of the pooled text embedding.
        told_guidance: whether it guides itself, and `network` is also given `guidance` [N], the scale.
    """

    prediction_type: Prediction = "flow_prediction"

    def __init__(self, network: torch.nn.Module, pooled_width: int, *, told_guidance: bool = False) -> None:
        super().__init__()
        self.network = network
        self.pooled_width = pooled_width
        self.told_guidance = told_guidance
        self.train(network.training)

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
            "text_embeds": (batch, self.pooled_width),
        }
        return {**shapes, GUIDANCE: (batch,)} if self.told_guidance else shapes

    def predict(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        alpha: torch.Tensor,
        sigma: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        text_embeds: torch.Tensor,
        guidance: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The transformer's own prediction v, `[N, C, h, w]`; the arguments are those of `forward`."""
        told = () if guidance is None else (guidance,)
        prediction: torch.Tensor = self.network(sample, timestep, encoder_hidden_states, text_embeds, *told)
        return prediction

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        alpha: torch.Tensor,
        sigma: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        text_embeds: torch.Tensor,
        guidance: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict the noise in `sample`.

        Args:
            sample: x, `[N, C, h, w]`.
            timestep: what the transformer is told, 1000 s, `[N]`.
            alpha, sigma: the noise level that it stands for, 1 - s and s, `[N]`.
            encoder_hidden_states: text states, `[N, S, D]`.
            text_embeds: the pooled text embedding, `[N, P]`.
            guidance: the scale of guidance, `[N]`, of a denoiser that guides itself.

        Returns:
            eps, `[N, C, h, w]`.
        """
        v = self.predict(sample, timestep, alpha, sigma, encoder_hidden_states, text_embeds, guidance)
        return to_eps(self.prediction_type, v, sample, alpha, sigma)
