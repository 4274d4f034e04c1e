"""The paper's mean filter, which takes the noise of few probes out of a map, and its detail with it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def smoothed(maps: NDArray[np.floating[Any]], side: int) -> NDArray[np.float32]:
    """Each cell as the mean of the square of `side` x `side` cells around it, as far as they lie within the map.

    Args:
        maps: [N, h, w].
        side: odd; 1 changes nothing.
    """
    if side == 1:
        return maps.astype(np.float32, copy=False)
    height, width = maps.shape[1:]
    rows, columns = _window(height, side), _window(width, side)
    mean: NDArray[np.float32] = (rows @ maps.astype(np.float64) @ columns.T).astype(np.float32)
    return mean


def _window(length: int, side: int) -> NDArray[np.float64]:
    """[length, length]: each row the weights of the cells whose mean a cell is."""
    place = np.arange(length)
    near = (abs(place[:, None] - place) <= side // 2).astype(np.float64)
    return near / near.sum(axis=1, keepdims=True)
