"""The threshold of a map that agrees best with the truth, found exactly rather than on a grid.

Masks are made at latent resolution and enlarged by nearest neighbour, so an image's intersection and union are sums
over latent cells of the share of each cell that is truly memorized. Sorting the cells by their value gives the IoU of
every threshold there is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BestThreshold:
    """A threshold in the unit of the map, and the global IoU that it reaches on the images that it was found on."""

    threshold: float
    iou: float


def best_threshold(maps: NDArray[np.floating], truth: NDArray[np.float64]) -> BestThreshold:
    """The threshold with the greatest global IoU, half-way to the next value below it.

    Args:
        maps: [N, h, w]; a cell is predicted where its value is at least the threshold.
        truth: [N, h, w], the share of each cell that is memorized.

    Raises:
        ValueError: the shapes differ, or nothing is memorized.
    """
    if maps.shape != truth.shape:
        raise ValueError(f"maps {maps.shape} and truth {truth.shape} differ in shape")
    if not truth.any():
        raise ValueError("nothing is memorized: every threshold above the maximum is as good")
    order = np.argsort(maps, axis=None)[::-1]
    values = maps.astype(np.float64).ravel()[order]
    both = np.cumsum(truth.ravel()[order])
    iou = both / (truth.sum() + np.arange(1, len(values) + 1) - both)
    iou[:-1][values[:-1] == values[1:]] = -np.inf  # equal values cannot be told apart
    best = int(iou.argmax())
    below = values[best + 1] if best + 1 < len(values) else values[best]
    return BestThreshold(float((values[best] + below) / 2), float(iou[best]))
