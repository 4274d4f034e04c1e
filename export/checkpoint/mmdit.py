"""The transformer of Stable Diffusion 3, MMDiT: text and image tokens attend to each other in joint attention.

Esser et al., arXiv 2403.03206. The positional embedding is a constant of the latents' size, cropped here, so that what
was trained for larger images does not go into every bundle.
"""

import torch
from diffusers import SD3Transformer2DModel


class Mmdit(torch.nn.Module):
    """A transformer as a function of latents, as `FlowDenoiser` takes it.

    Text states that are narrower than the transformer takes are filled up with zeros: without T5, its pipeline has
    zeros for T5's states, and CLIP's never fill the width.

    Args:
        transformer: in evaluation mode; its positional embedding is cropped in place.
        latent_shape: (C, h, w).
        missing: how many tokens the pipeline has behind those that this network is given, all zeros.
    """

    def __init__(
        self, transformer: SD3Transformer2DModel, latent_shape: tuple[int, int, int], missing: int = 0
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.missing = missing
        _crop_positions(transformer, *latent_shape[1:])
        self.train(transformer.training)

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, states: torch.Tensor, pooled: torch.Tensor
    ) -> torch.Tensor:
        """sample [N, C, h, w], timestep [N], states [N, S, D], pooled [N, P] -> v [N, C, h, w]."""
        narrow = self.transformer.config.joint_attention_dim - states.shape[2]
        if narrow or self.missing:
            states = torch.nn.functional.pad(states, (0, narrow, 0, self.missing))
        v: torch.Tensor = self.transformer(
            hidden_states=sample,
            timestep=timestep,
            encoder_hidden_states=states,
            pooled_projections=pooled,
            return_dict=False,
        )[0]
        return v


def _crop_positions(transformer: SD3Transformer2DModel, height: int, width: int) -> None:
    """Leave of the positional embedding what latents of this size use: then diffusers takes it as it is."""
    embedding = transformer.pos_embed
    if embedding.pos_embed_max_size is None:
        return
    cropped = embedding.cropped_pos_embed(height, width).clone()
    embedding.pos_embed_max_size = None
    embedding.height, embedding.width = height // embedding.patch_size, width // embedding.patch_size
    embedding.pos_embed = cropped
