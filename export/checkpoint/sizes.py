"""The size of latents: its denoiser's `sample_size`, as a pipeline draws them where it is given none, or another."""

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


def require_drawable(size: tuple[int, int], pixels: int, denoiser: Mapping[str, Any], family: Family) -> None:
    """Check that images of a size can be encoded and denoised.

    Args:
        size: (H, W), in pixels.
        pixels: side of the square of pixels that a cell of latents stands for.
        denoiser: the configuration of the denoiser, a UNet, each of whose levels but the last halves the latents, or a
            transformer, which makes one token of a square of them.

    Raises:
        ExportError: a side is no multiple of the least size, or has more tokens than the transformer knows places.
    """
    smaller = 1 << (len(denoiser.get("down_block_types", (None,) * 4)) - 1) if family.build is None else family.patch
    for option, side in zip(("--height", "--width"), size, strict=True):
        if side < 1 or side % (pixels * smaller):
            raise ExportError(
                f"{option} {side}: it must be a multiple of {pixels * smaller}, {pixels} pixels to a cell of latents"
                f" times {smaller}, by which the {family.denoiser} makes them smaller"
            )
        most = denoiser.get("pos_embed_max_size")
        if type(most) is int and side > pixels * smaller * most:
            raise ExportError(
                f"{option} {side}: it must be {pixels * smaller * most} at most: the places of its tokens"
            )


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
