"""The Euclidean distance of two latents, for the norms of every step of a path: no copy in float64 is made.

Differences and squares are of float32, and are added up in float32 within a channel, by many partial sums, and in
float64 from one channel to the next: the error is a unit in the last place of a float32, which a score is.
"""

import threading
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
    difference = np.subtract(a, b, out=_room(a.shape, np.result_type(a, b)))
    difference = difference.reshape(*a.shape[:2], 1, a.shape[2] * a.shape[3])
    squares = difference @ difference.transpose(0, 1, 3, 2)  # [N, C, 1, 1]
    return np.sqrt(squares.sum(axis=(1, 2, 3), dtype=np.float64))


class _Rooms(threading.local):
    """Memory for a thread's differences: made anew for each of them, it costs more than they do."""

    last: NDArray[Any] = np.empty(0)


_ROOMS = _Rooms()


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    if _ROOMS.last.shape != shape or _ROOMS.last.dtype != dtype:
        _ROOMS.last = np.empty(shape, dtype)
    return _ROOMS.last
