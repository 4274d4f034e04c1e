"""Between the latents of a denoiser and the z of its VAE, as pipelines of diffusers have it:

    z = latents / scaling_factor                                   Stable Diffusion 1.x and 2.x
    z = latents latents_std / scaling_factor + latents_mean        XL, where the VAE has both; by channel
    z = latents / scaling_factor + shift_factor                    Stable Diffusion 3 and FLUX

A statistic that a family's pipeline does not know is refused: it would leave it out.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memscan.scanner.errors import ExportError

BY_CHANNEL = ("latents_mean", "latents_std")
SHIFT = ("shift_factor",)

Config = Mapping[str, Any]


def to_vae(latents: Tensor, config: Config) -> Tensor:
    """z [N, C, h, w] of latents [N, C, h, w]."""
    if config.get("latents_std") is not None:
        latents = latents * _by_channel(config["latents_std"])
    z = latents / config["scaling_factor"]
    offset = _offset(config)
    return z if offset is None else z + offset


def from_vae(z: Tensor, config: Config) -> Tensor:
    """Latents [N, C, h, w] of z [N, C, h, w]."""
    offset = _offset(config)
    latents = (z if offset is None else z - offset) * config["scaling_factor"]
    return latents if config.get("latents_std") is None else latents / _by_channel(config["latents_std"])


def check_statistics(file: Path, config: Config, known: Sequence[str]) -> None:
    """Check the statistics of the VAE whose configuration is in `file`.

    Args:
        known: those that the family's pipeline knows: `BY_CHANNEL`, `SHIFT` or none.

    Raises:
        ExportError: there are others, one of two alone, or such as are no numbers.
    """
    channels = config.get("latent_channels", 4)
    found = {name: config[name] for name in (*BY_CHANNEL, *SHIFT) if config.get(name) is not None}
    if (
        _is_number(shift := found.get("shift_factor")) and shift == 0
    ):  # AutoencoderTiny writes it, and it shifts nothing
        del found["shift_factor"]
    for name, value in found.items():
        if name not in known:
            raise ExportError(f"{file} has {name}, which the pipeline of this family leaves out: set it to null")
        values = value if isinstance(value, list) else [value]
        if isinstance(value, list) != (name in BY_CHANNEL) or (name in BY_CHANNEL and len(values) != channels):
            raise ExportError(f"{file} has {name} of another form than {_form(name, channels)}")
        if not all(_is_number(one) and (one > 0 or name != "latents_std") for one in values):
            raise ExportError(f"{file} has {name} that is not {_form(name, channels)}")
    if len([name for name in found if name in BY_CHANNEL]) == 1:
        (alone,) = (name for name in BY_CHANNEL if name in found)
        raise ExportError(f"{file} has {alone} alone, which a pipeline leaves out without the other")


def _offset(config: Config) -> Tensor | float | None:
    if config.get("latents_mean") is not None:
        return _by_channel(config["latents_mean"])
    return config.get("shift_factor")


def _by_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values)[:, None, None]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _form(name: str, channels: int) -> str:
    if name not in BY_CHANNEL:
        return "one number"
    return f"{channels} {'positive ' if name == 'latents_std' else ''}numbers, one a channel"
