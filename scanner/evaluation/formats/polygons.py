"""Polygons of COCO annotations as masks: the pixels whose centres lie inside, by the even-odd rule.

Coordinates are those of COCO: pixel (x, y) covers [x, x + 1) times [y, y + 1). pycocotools rounds on a finer grid and
may differ by pixels that the outline crosses.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.formats.fields import said

MAX_POINTS = 100_000


def polygon_mask(coordinates: Sequence[Any], height: int, width: int) -> NDArray[np.bool_]:
    """The mask [height, width] of one polygon, x and y in turn.

    Raises:
        ValueError: it has fewer than three points or too many, or a coordinate is no finite number.
    """
    if not 6 <= len(coordinates) <= 2 * MAX_POINTS or len(coordinates) % 2:
        raise ValueError(f"a polygon has {len(coordinates)} coordinates: 3 to {MAX_POINTS} points have x and y each")
    for one in coordinates:
        if isinstance(one, bool) or not isinstance(one, int | float) or not math.isfinite(one):
            raise ValueError(f"a polygon has the coordinate {said(one)}, which is no finite number")
    x, y = np.array(coordinates, np.float64).reshape(-1, 2).T
    x_next, y_next = np.roll(x, -1), np.roll(y, -1)
    mask = np.zeros((height, width), dtype=bool)
    for row in range(max(0, math.floor(y.min())), min(height, math.ceil(y.max()))):
        centre = row + 0.5
        crossed = (y <= centre) != (y_next <= centre)
        share = (centre - y[crossed]) / (y_next[crossed] - y[crossed])
        crossings = np.sort(x[crossed] + share * (x_next[crossed] - x[crossed]))
        # A centre is inside if an odd number of crossings lies to the left of it.
        first = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.intp)
        toggles = np.zeros(width + 1, np.int64)
        np.add.at(toggles, first, 1)
        mask[row] = np.cumsum(toggles[:width]) % 2 == 1
    return mask
