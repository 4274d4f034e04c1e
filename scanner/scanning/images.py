"""Between image files and the arrays that the VAE takes and gives."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from memscan.scanner.errors import RowError


def load_image(encoded: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode an image file to RGB, upright by its EXIF orientation, resized (bicubic) where its size differs.

    Args:
        size: H, W of the model's images.

    Returns:
        uint8 [H, W, 3].

    Raises:
        RowError: the bytes are no image that can be decoded.
    """
    height, width = size
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except UnidentifiedImageError as error:  # its own text names an object by its address
        raise RowError("image cannot be decoded: no known image format") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RowError(f"image cannot be decoded: {error}") from error
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def to_model_range(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [H, W, 3] -> float32 [3, H, W] in [-1, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(127.5) - np.float32(1)


def to_pixels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """float32 [3, H, W], nominally in [-1, 1] -> uint8 [H, W, 3], clipped and rounded as in diffusers; NaN is black."""
    unit = np.nan_to_num(np.clip(image.transpose(1, 2, 0) / 2 + np.float32(0.5), 0, 1))
    return np.round(unit * 255).astype(np.uint8)
