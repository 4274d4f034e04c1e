"""Resizing as the paper's evaluation does it: bilinear for maps, nearest for masks, half-pixel centres in both.

Output pixel i of `size` looks at source coordinate (i + 1/2) n / size - 1/2, clamped to the image: torch's
`interpolate(mode="bilinear", align_corners=False)`, without antialiasing, and `mode="nearest-exact"`.
"""

import numpy as np
from numpy.typing import NDArray


def bilinear(image: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Resize `image` [h, w] to [size, size]; a constant image stays exactly constant."""
    top, bottom, down = _taps(image.shape[0], size)
    left, right, across = _taps(image.shape[1], size)
    columns = image[:, left] + across * (image[:, right] - image[:, left])  # [h, size]
    upper, result = columns[top], columns[bottom]
    result -= upper
    result *= down[:, None]
    result += upper
    return result


def nearest(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Resize `mask` [h, w] to [size, size]."""
    height, width = mask.shape
    centres = 2 * np.arange(size) + 1
    return mask[centres * height // (2 * size)][:, centres * width // (2 * size)]


def _taps(source: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    coordinate = np.maximum((np.arange(size) + 0.5) * source / size - 0.5, 0.0)
    lower = coordinate.astype(np.intp)
    return lower, np.minimum(lower + 1, source - 1), coordinate - lower
