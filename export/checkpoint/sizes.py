"""The size of latents that a pipeline draws where it is given none: its denoiser's `sample_size`."""

from collections.abc import Mapping
from typing import Any

from packaging.version import InvalidVersion, Version

from memscan.export.checkpoint.family import Family
from memscan.scanner.errors import ExportError

_MEANINGLESS = Version("0.9.0.dev0")
"""diffusers before this wrote 32 whatever the model was trained at; its pipelines have since taken 64 instead."""


def latent_size(unet: Mapping[str, Any], family: Family) -> tuple[int, int]:
    """(h, w) of the latents of a denoiser with the configuration `unet`.

    Raises:
        ExportError: its `sample_size` is neither a size nor two.
    """
    size = unet.get("sample_size")
    if size is None:
        return family.latent_size
    if type(size) is int and size < 64 and family.old_sizes and _is_meaningless(unet):
        return family.latent_size
    sizes = tuple(size) if isinstance(size, list) else (size, size)
    if len(sizes) != 2 or not all(type(side) is int and side > 0 for side in sizes):
        raise ExportError(
            f"{family.denoiser}/config.json has sample_size {size!r}: give the rows and columns of latents"
        )
    return sizes[0], sizes[1]


def size_remark(unet: Mapping[str, Any], family: Family) -> str:
    """What is to be said where the size is not the configuration's, or ""."""
    height, width = latent_size(unet, family)
    size = unet.get("sample_size")
    if size is None:
        return f"{family.denoiser}: no sample_size, so latents are {height} x {width} as {family.title} has them"
    if size not in (height, [height, width]):
        return f"unet: sample_size {size} is of diffusers before 0.9, whose pipelines take {height} x {width}"
    return ""


def _is_meaningless(unet: Mapping[str, Any]) -> bool:
    try:
        return Version(Version(str(unet["_diffusers_version"])).base_version) < _MEANINGLESS
    except (KeyError, InvalidVersion):
        return False
