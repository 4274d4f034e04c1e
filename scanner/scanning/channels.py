"""What a denoiser is shown beside the latents: pictures of a row, made into channels as the model's own pipeline does.

    inpainting   the mask, and latents of the picture with what is masked made grey; without a picture all is masked
    depth        the picture's grey values, bicubically at the latents' size, from -1 to 1; without a picture 0
    edit         latents of the picture; without a picture 0

A picture without a mask, and a mask without a picture, are nothing that can be inpainted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner import graph_names
from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import RowError
from memscan.scanner.input.rows import CONDITIONS
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.pictures.decode import decode_picture
from memscan.scanner.pictures.fit import fit_picture
from memscan.scanner.samples import Sample
from memscan.scanner.scanning.images import to_model_range
from memscan.scanner.settings import Fit

Array = NDArray[np.float32]

_TAKEN: dict[str, tuple[str, ...]] = {
    "inpainting": CONDITIONS,
    "depth": ("condition_image",),
    "edit": ("condition_image",),
}
_SHARPNESS = -0.75
"""Of cubic interpolation, as torch has it."""


class Shown(NamedTuple):
    """`plane` [1, h, w] goes in as it is, before the latents of `pixels` [3, H, W] in [-1, 1]; either may be absent."""

    plane: Array | None
    pixels: Array | None


def shown_to(bundle: Bundle, sample: Sample, fit: Fit) -> Shown | None:
    """What the bundle's denoiser is shown of a sample's pictures; None if it takes none.

    Raises:
        RowError: a picture that it does not take, one that cannot be decoded, or a picture without its mask.
    """
    channels = bundle.takes.channels
    brought = {role: getattr(sample, role) for role in CONDITIONS}
    brought = {role: content for role, content in brought.items() if content is not None}
    taken = () if channels is None else _TAKEN[channels.kind]
    for role in brought:
        if role not in taken:
            raise RowError(f"this model takes no {role}: leave the column out")
    if channels is None:
        return None
    for role in taken:
        if brought and role not in brought:
            raise RowError(f"the row has {', '.join(brought)} and no {role}: this model takes both or none")
    pictures = {role: _decoded(role, content, bundle.image_size, fit) for role, content in brought.items()}
    latents = bundle.latent_shape[1:]
    if channels.kind == "inpainting":
        return _inpainting(pictures, bundle.image_size, latents)
    if channels.kind == "depth":
        return Shown(_depth(pictures.get("condition_image"), latents), None)
    return Shown(None, to_model_range(np.asarray(pictures["condition_image"])) if pictures else None)


def channels_of(bundle: Bundle, graphs: Graphs, shown: Sequence[Shown]) -> Array:
    """The channels [N, X, h, w] of a batch."""
    channels = bundle.takes.channels
    assert channels is not None
    made = np.zeros((len(shown), channels.count, *bundle.latent_shape[1:]), np.float32)
    for place, one in enumerate(shown):
        if one.plane is not None:
            made[place, : len(one.plane)] = one.plane
    pictured = [place for place, one in enumerate(shown) if one.pixels is not None]
    if pictured:
        pixels = np.stack([one.pixels for one in shown if one.pixels is not None])
        made[pictured, -bundle.latent_shape[0] :] = np.float32(channels.scale) * graphs.encode_image(pixels)
    return made


def shared_inputs(
    bundle: Bundle, graphs: Graphs, shown: Sequence[Shown | None], guidance_scale: float
) -> dict[str, Array]:
    """What the denoiser takes of a batch whatever the text: inputs [N, ...] by name.

    Args:
        shown: of each image.
        guidance_scale: what a denoiser is told that guides itself.
    """
    inputs = {}
    if bundle.takes.guidance:
        inputs[graph_names.GUIDANCE] = np.full(len(shown), guidance_scale, np.float32)
    if bundle.takes.channels is not None:
        inputs[graph_names.CHANNELS] = channels_of(bundle, graphs, [one for one in shown if one is not None])
    return inputs


def _decoded(role: str, content: bytes, size: tuple[int, int], fit: Fit) -> Image.Image:
    try:
        return fit_picture(decode_picture(content), size, fit)[0]
    except RowError as error:
        raise RowError(f"{role}: {error}") from error


def _inpainting(pictures: dict[str, Image.Image], size: tuple[int, int], latents: tuple[int, int]) -> Shown:
    if not pictures:
        return Shown(np.ones((1, *latents), np.float32), np.zeros((3, *size), np.float32))
    painted = np.asarray(pictures["condition_mask"].convert("L")) >= 127.5  # [H, W]
    pixels = np.where(painted, np.float32(0), to_model_range(np.asarray(pictures["condition_image"])))
    nearest = painted[:: size[0] // latents[0], :: size[1] // latents[1]]
    return Shown(nearest[None].astype(np.float32), pixels)


def _depth(picture: Image.Image | None, latents: tuple[int, int]) -> Array:
    if picture is None:
        return np.zeros((1, *latents), np.float32)
    grey = np.asarray(picture.convert("L"), np.float64)
    rows, columns = (_cubic(side, many) for side, many in zip(latents, grey.shape, strict=True))
    depth = rows @ grey @ columns.T
    low, high = depth.min(), depth.max()
    if low == high:
        return np.zeros((1, *latents), np.float32)
    return (2 * (depth - low) / (high - low) - 1)[None].astype(np.float32)


def _cubic(few: int, many: int) -> NDArray[np.float64]:
    """The matrix [few, many] of cubic interpolation at the centres of cells, its edges held (Keys, 1981)."""
    centres = (np.arange(few) + 0.5) * many / few - 0.5
    first = np.floor(centres).astype(int)
    matrix = np.zeros((few, many))
    for offset in range(-1, 3):
        place = np.clip(first + offset, 0, many - 1)
        np.add.at(matrix, (np.arange(few), place), _kernel(np.abs(centres - first - offset)))
    return matrix


def _kernel(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    a, x = _SHARPNESS, distance
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))
