"""The Euclidean distance of two latents, for the norms of every step of a path: no copy in float64 is made.

Differences and squares are of float32, and are added up in float32 within a channel, by many partial sums, and in
float64 from one channel to the next: the error is a unit in the last place of a float32, which a score is.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def distances(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """|a - b| of each of N latents.

    Args:
        a, b: [N, C, h, w].

    Returns:
        [N].
    """
    difference = (a - b).reshape(*a.shape[:2], 1, a.shape[2] * a.shape[3])
    squares = difference @ difference.transpose(0, 1, 3, 2)  # [N, C, 1, 1]
    return np.sqrt(squares.sum(axis=(1, 2, 3), dtype=np.float64))
