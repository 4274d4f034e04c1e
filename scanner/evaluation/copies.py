"""Is a generated picture a copy of a training picture? Webster's rule, which needs no network.

With pixels of generated x and training picture t in [0, 1], and a mask m of the region that could be copied,

    squares = sum over pixels and channels of (m t - m x)^2 / mean(m)            at 256 x 256 x 3
    copy    = squares < 2500, or 3000 against pictures that were retrieved by likeness and not by caption

Divided by their number, the squares are the mean square error within the mask: its root, which does not depend on the
size of the pictures, is what is given here. (Webster, "A Reproducible Extraction of Training Images from Diffusion
Models", 2023: `compute_masked_mses`.)
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 256
"""Side of the pictures that the rule was made for."""

_VALUES = SIZE * SIZE * 3

COPY_RMSE = math.sqrt(2500 / _VALUES)
"""0.1128: below, a generated picture copies the training picture of its caption, or a template."""

RETRIEVED_RMSE = math.sqrt(3000 / _VALUES)
"""0.1235: the same for a training picture that was found by its likeness."""


def masked_rmse(
    generated: NDArray[Any], training: NDArray[Any], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Root mean square error within a mask, of pictures whose full range is 1.

    Args:
        generated: [..., H, W, 3], uint8 or floating point in [0, 1].
        training: the same, of one size with it; leading axes are broadcast.
        mask: [..., H, W]; None is the whole picture.

    Returns:
        [...], in [0, 1]: a copy is below `COPY_RMSE`.

    Raises:
        ValueError: the pictures differ in size, or a mask is empty or of another size.
    """
    if generated.shape[-3:] != training.shape[-3:]:
        raise ValueError(f"pictures of {generated.shape[-3:]} and {training.shape[-3:]} cannot be compared")
    squares = np.square(_in_unit(generated) - _in_unit(training)).mean(axis=-1)  # [..., H, W]
    if mask is None:
        return np.sqrt(squares.mean(axis=(-2, -1)))
    if mask.shape[-2:] != squares.shape[-2:]:
        raise ValueError(f"a mask of {mask.shape[-2:]} does not fit pictures of {squares.shape[-2:]}")
    area = mask.sum(axis=(-2, -1))
    if not np.all(area > 0):
        raise ValueError("the mask is empty: nothing can be compared")
    return np.sqrt((squares * mask).sum(axis=(-2, -1)) / area)


def for_comparison(picture: Image.Image) -> NDArray[np.uint8]:
    """An RGB picture as the rule compares it: uint8 [256, 256, 3], resampled bicubically, its shape not kept."""
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def _in_unit(pixels: NDArray[Any]) -> NDArray[np.float64]:
    return pixels / 255.0 if pixels.dtype == np.uint8 else pixels.astype(np.float64)
