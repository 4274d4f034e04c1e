"""Pictures of a page as data URIs: always encoded anew from pixels, so that nothing of a file is passed on unread."""

import base64
import dataclasses
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.pictures.decode import decode_picture
from memscan.scanner.sheet.colormap import colours
from memscan.scanner.sheet.panels import OUTLINE, border
from memscan.scanner.sheet.scale import share

_LARGEST = 1024
_PNG_UP_TO = 192  # pixels of a side: toy images stay exact, photographs become small
_QUALITY = 88
_MASK_SIDE = 256
_VEIL = (255, 255, 255, 190)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of `width` x `height` pixels as the data URI `uri`."""

    uri: str
    width: int
    height: int


def photo(encoded: bytes) -> Picture:
    """A picture file, at most 1024 pixels large.

    Raises:
        RowError: it cannot be decoded.
    """
    image = decode_picture(encoded)
    image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    return _picture(image, "PNG" if max(image.size) <= _PNG_UP_TO else "JPEG")


def heat_map(values: NDArray[np.floating], metric: str) -> Picture:
    """A map [h, w] of a `metric` in the colours of its scale, a pixel for each of the latent's."""
    return _picture(Image.fromarray(colours(share(values, metric))))


def veil(mask: NDArray[np.bool_]) -> Picture:
    """What lies over a picture to show a mask [h, w]: a veil outside, a line on its border; nothing if it is empty."""
    factor = max(1, _MASK_SIDE // max(mask.shape))
    inside = mask.repeat(factor, axis=0).repeat(factor, axis=1)
    pixels = np.zeros((*inside.shape, 4), np.uint8)
    if inside.any():
        pixels[~inside] = _VEIL
    pixels[border(inside, max(1, max(inside.shape) // 100))] = (*OUTLINE, 255)
    return _picture(Image.fromarray(pixels))


def ramp() -> Picture:
    """The colours of a scale from its low to its high end."""
    return _picture(Image.fromarray(colours(np.linspace(0, 1, 128)[None])))


def _picture(image: Image.Image, form: str = "PNG") -> Picture:
    content = io.BytesIO()
    image.save(content, form, quality=_QUALITY, optimize=form == "PNG")
    text = base64.b64encode(content.getvalue()).decode()
    return Picture(f"data:image/{form.lower()};base64,{text}", image.width, image.height)
