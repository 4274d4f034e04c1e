"""Masks of pictures at the resolution of latents, to which maps belong."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def cover(mask: NDArray[np.bool_], shape: Sequence[int]) -> NDArray[np.float64]:
    """Share [h, w] of every latent cell that lies in `mask` [H, W]."""
    height, width = shape
    blocks = mask.reshape(height, mask.shape[0] // height, width, mask.shape[1] // width)
    return blocks.mean(axis=(1, 3))
