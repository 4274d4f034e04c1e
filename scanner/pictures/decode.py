"""Picture files to 8-bit RGB: every kind of pixel gives its right value, or an error; nothing is clipped.

    orientation   as EXIF says; EXIF that cannot be read says nothing
    transparency  composited on white
    16 bits       v / 257, rounded; of colours, Pillow keeps the upper 8 bits
    float         0 to 1, scaled to 0 to 255; other values are refused, since no range is agreed on
    several       the first frame or page
    profiles      ICC profiles are not applied, CMYK is converted without one: as pipelines read their training images

Formats are an explicit list: among Pillow's others are some that start programs (EPS: Ghostscript).
"""

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from memscan.scanner.errors import RowError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 1 << 26

_DIRECT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
"""Modes that Pillow converts without loss of range."""

_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339
_WHITE_IS_ZERO, _SEPARATE, _SIGNED = 0, 2, 2
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SHOWN = 160

# Pillow's doubts about a file are no lines of a log; for good, since `catch_warnings` is not for threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode_picture(encoded: bytes) -> Image.Image:
    """The picture in a file of one of `FORMATS`: upright, opaque, mode RGB.

    Raises:
        RowError: no such picture, one that is damaged or has more than `MAX_PIXELS`, or pixels whose values have no
            agreed meaning.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise RowError(f"image of {picture.width}x{picture.height} is too large: {MAX_PIXELS} pixels at most")
            picture.load()
            return _turned(_opaque(picture, encoded), _orientation(picture))
    except RowError:
        raise
    except UnidentifiedImageError as error:  # its own text names an object by its address
        raise RowError(
            f"image cannot be decoded: no {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, or one of a rare kind"
        ) from error
    except Exception as error:  # decoders raise whatever: struct.error, IndexError, RuntimeError, MemoryError ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RowError(f"image cannot be decoded: {reason:.{_SHOWN}}") from error


def _orientation(picture: Image.Image) -> Any:
    """The value of the EXIF tag; a TIFF has lost it here, because Pillow turns it as it loads."""
    try:
        return picture.getexif().get(_ORIENTATION)
    except Exception:  # its parser raises whatever on what is no EXIF
        return None


def _turned(picture: Image.Image, orientation: Any) -> Image.Image:
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(turn)


def _opaque(picture: Image.Image, encoded: bytes) -> Image.Image:
    bits = _tag(picture, _BITS_PER_SAMPLE, 8)
    if _tag(picture, _PLANAR, 1) == _SEPARATE and bits > 8:  # Pillow reads their bytes as values
        raise RowError(f"image has separate planes of {bits} bits: save it as 8-bit RGB")
    if picture.mode.startswith("I;16"):
        return _from_wide(picture)
    if picture.mode == "F":
        return _from_float(picture)
    if picture.mode not in _DIRECT or _tag(picture, _SAMPLE_FORMAT, 1) == _SIGNED:
        raise RowError(f"image has pixels of a kind ({_kind(picture)}) without an agreed range: save it as 8-bit RGB")
    colour = picture.info.get("transparency")
    if colour is not None and picture.mode in ("1", "L", "RGB"):
        return _without_colour(picture, colour, encoded)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def _kind(picture: Image.Image) -> str:
    return "signed integers" if picture.mode == "L" else {"I": "32-bit integers"}.get(picture.mode, picture.mode)


def _from_wide(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits, or of the 12 that some TIFFs have."""
    values = np.asarray(picture).astype(np.uint32)
    full = (1 << min(_tag(picture, _BITS_PER_SAMPLE, 16), 16)) - 1
    grey = ((values * 255 + full // 2) // full).astype(np.uint8)
    if _tag(picture, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if (level := picture.info.get("transparency")) is not None:
        grey[values == level] = 255
    return Image.fromarray(grey).convert("RGB")


def _from_float(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # NaN is refused too
        raise RowError(f"image has floating-point pixels from {low:g} to {high:g}: expected 0 to 1")
    if _tag(picture, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
        values = 1 - values
    return Image.fromarray(np.round(values * 255).astype(np.uint8)).convert("RGB")


def _without_colour(picture: Image.Image, colour: Any, encoded: bytes) -> Image.Image:
    """The picture with one colour, that of a PNG's tRNS chunk or a grey GIF, made white."""
    depth = encoded[24] if picture.format == "PNG" else 8
    if depth > 8:
        raise RowError("image has 16-bit colours of which one is transparent: save it as 8-bit RGB")
    pixels = np.array(picture.convert("RGB"))
    transparent: NDArray[np.int64] = np.asarray(colour) * 255 // ((1 << depth) - 1)
    pixels[(pixels == transparent).all(axis=-1)] = 255
    return Image.fromarray(pixels)


def _tag(picture: Image.Image, number: int, default: int) -> int:
    """A tag of a TIFF, whose first value counts; other formats have none."""
    value = getattr(picture, "tag_v2", {}).get(number, default)
    return int(value[0] if isinstance(value, tuple) else value)
