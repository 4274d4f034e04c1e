"""What a checkpoint's denoiser takes beside latents, noise level and text, as a bundle records it."""

from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.export.checkpoint.family import more_channels
from memscan.scanner.bundle_parts import AestheticScores, Channels, Takes

_SCORES = AestheticScores(prompt=6.0, none=2.5)
"""What diffusers' pipeline tells a refiner, where it is not told otherwise."""


def takes_of(checkpoint: Checkpoint) -> Takes:
    """What the scanner must give the denoiser of a checkpoint.

    A picture that is edited goes in as latents without the VAE's scaling, in diffusers' pipeline as in training.
    """
    family = checkpoint.family
    denoiser = checkpoint.config(family.denoiser)
    channels = None
    if family.channels is not None:
        scaling = float(checkpoint.config("vae").get("scaling_factor", 0.18215))
        scale = 1 / scaling if family.channels == "edit" else 1.0
        channels = Channels(family.channels, more_channels(denoiser), scale)
    return Takes(
        guidance=denoiser.get("time_cond_proj_dim") is not None or bool(denoiser.get("guidance_embeds")),
        channels=channels,
        aesthetic_scores=_SCORES if family.scored else None,
    )
