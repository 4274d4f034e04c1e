"""The small square pictures of a contact sheet: images, heat maps, and masks laid over images."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.evaluation.resize import nearest
from memscan.scanner.sheet.colormap import colours
from memscan.scanner.sheet.scale import share

SIDE = 128
OUTLINE = (226, 32, 88)

_FADED = 0.82
_OUTLINE_WIDTH = 2


def photo(image: Image.Image) -> Image.Image:
    """`image` as a square panel, enlarged or reduced smoothly."""
    return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def heat_map(values: NDArray[np.floating], metric: str) -> Image.Image:
    """A map [h, w] of a `metric` in the colours of its scale; every latent pixel stays a visible square."""
    enlarging = max(values.shape) <= SIDE
    filtering = Image.Resampling.NEAREST if enlarging else Image.Resampling.BOX
    return Image.fromarray(colours(share(values, metric))).resize((SIDE, SIDE), filtering)


def overlay(mask: NDArray[np.bool_], image: Image.Image | None) -> Image.Image:
    """`image` faded outside `mask` [h, w], with the border of the mask drawn; without an image, a grey silhouette."""
    inside = nearest(mask, SIDE)
    pixels = np.full((SIDE, SIDE, 3), 96.0) if image is None else np.asarray(photo(image), dtype=np.float64)
    pixels = np.where(inside[..., None], pixels, 255 * _FADED + pixels * (1 - _FADED))
    pixels[border(inside, _OUTLINE_WIDTH)] = OUTLINE
    return Image.fromarray(np.round(pixels).astype(np.uint8))


def border(inside: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels inside [h, w] that are within `width` of one outside; the edge of the frame counts as outside."""
    eroded = inside
    for _ in range(width):
        padded = np.pad(eroded, 1)
        eroded = eroded & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~eroded
