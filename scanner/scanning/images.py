"""Between picture files and the arrays that the VAE takes and gives."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.pictures.decode import decode_picture
from memscan.scanner.pictures.fit import fit_picture
from memscan.scanner.samples import GIVEN
from memscan.scanner.settings import Fit


class GivenImage(NamedTuple):
    """A picture in the shape of the model's images: uint8 [H, W, 3], and its `image_source`, which says how it fits."""

    pixels: NDArray[np.uint8]
    source: str


def load_image(encoded: bytes, size: tuple[int, int], how: Fit) -> GivenImage:
    """Decode a picture file and fit it to `size` (H, W).

    Raises:
        RowError: as `decode_picture`.
    """
    picture, done = fit_picture(decode_picture(encoded), size, how)
    return GivenImage(np.asarray(picture), f"{GIVEN}, {done}" if done else GIVEN)


def to_model_range(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [H, W, 3] -> float32 [3, H, W] in [-1, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(127.5) - np.float32(1)


def to_pixels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """float32 [3, H, W], nominally in [-1, 1] -> uint8 [H, W, 3], clipped and rounded as in diffusers; NaN is black."""
    unit = np.nan_to_num(np.clip(image.transpose(1, 2, 0) / 2 + np.float32(0.5), 0, 1))
    return np.round(unit * 255).astype(np.uint8)
