"""What memscan knows of a family of checkpoints: how one is recognised, its parts, and how its pipeline conditions."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from memscan.export.checkpoint.components import TextEncoder, TwoTextEncoders


@dataclasses.dataclass(frozen=True)
class Family:
    """One file describes each; see `families.FAMILIES`.

    Args:
        name: as code says it, "sd".
        title: as people say it.
        pipelines: the classes of `model_index.json` whose sampling is the plain one.
        recognises: whether a denoiser's configuration is of this family.
        parts: folder of each part that holds weights -> its class.
        text_encoders: the folders of text encoders, in the order in which their states are joined.
        tokenizers: the folder of each text encoder's tokenizer.
        join: makes one module of the text encoders.
        latent_size: rows and columns of latents where a configuration gives no `sample_size`.
        old_sizes: whether its pipeline knows that `sample_size` meant nothing before diffusers 0.9.
        steps_offset: what its pipeline takes whatever a scheduler's configuration says.
        zero_uncond: whether no prompt is encoded as zeros, where `model_index.json` does not say.
        told_size: whether its denoiser is told the size of the image.
        layers_left_out: how many of a text encoder's last layers its pipeline never uses.
        pipeline_sigmas: whether its pipeline itself spaces the steps of flow matching; see `read_flow_schedule`.
        latent_statistics: the statistics of a VAE that its pipeline knows; see `latent_scale`.
        patch: side of an image token in latent cells, where noise levels depend on the number of tokens.
    """

    name: str
    title: str
    pipelines: tuple[str, ...]
    recognises: Callable[[Mapping[str, Any]], bool]
    parts: Mapping[str, type]
    text_encoders: tuple[str, ...]
    tokenizers: tuple[str, ...]
    join: Callable[..., TextEncoder | TwoTextEncoders]
    latent_size: tuple[int, int]
    old_sizes: bool
    steps_offset: int | None
    zero_uncond: bool
    told_size: bool
    layers_left_out: int = 0
    pipeline_sigmas: bool = False
    patch: int = 2
    latent_statistics: tuple[str, ...] = ()
