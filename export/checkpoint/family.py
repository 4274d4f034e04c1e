"""Which Stable Diffusion a checkpoint is, told by its denoiser's configuration, and which it may not be.

Stable Diffusion 1.x and 2.x ("sd") have one text encoder. Stable Diffusion XL ("sdxl") has two: the denoiser attends to
the hidden states of both side by side, and takes the second's pooled embedding together with the sizes of the image.
"""

from pathlib import Path
from typing import Any, Literal

from memscan.scanner.errors import ExportError

Family = Literal["sd", "sdxl"]

TEXT_ENCODERS: dict[Family, tuple[str, ...]] = {"sd": ("text_encoder",), "sdxl": ("text_encoder", "text_encoder_2")}
"""The folders of a family's text encoders, in the order in which their hidden states are joined."""

_UNSUPPORTED_UNET_OPTIONS = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "time_cond_proj_dim")


def family_of(path: Path, unet: dict[str, Any]) -> Family:
    """The family of the checkpoint at `path`, whose denoiser has the configuration `unet`.

    Raises:
        ExportError: the denoiser is of no family that memscan can export, or lacks a text encoder of its family.
    """
    inputs, outputs = unet.get("in_channels", 4), unet.get("out_channels", 4)
    if inputs != outputs:
        raise ExportError(f"{path / 'unet'} maps {inputs} channels to {outputs} (inpainting?); they must be as many")
    for option in _UNSUPPORTED_UNET_OPTIONS:
        if unet.get(option) is not None:
            raise ExportError(f"{path / 'unet'} has {option} {unet[option]!r}, which memscan cannot export")
    added = unet.get("addition_embed_type")
    if added not in (None, "text_time"):
        raise ExportError(f"{path / 'unet'} has addition_embed_type {added!r}, which memscan cannot export")
    family: Family = "sd" if added is None else "sdxl"
    first, second = ((path / part).is_dir() for part in ("text_encoder", "text_encoder_2"))
    if second and not first:
        raise ExportError(f"{path} has only the second of two text encoders (a refiner?), which memscan cannot export")
    if first and second != (family == "sdxl"):
        encoders = "two text encoders" if second else "one text encoder"
        raise ExportError(f"{path} has {encoders}, but its unet has addition_embed_type {added!r}: not a known family")
    return family
