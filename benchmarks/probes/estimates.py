"""Estimates of a diagonal out of products, and combinations of several estimates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def hutchinson(weighted: Array, rows: Sequence[int]) -> Array:
    """The mean of v * (J v) [K, ...] over some of its rows."""
    return weighted[list(rows)].mean(axis=0)


def coefficients(estimates: Array, truth: Array) -> Array:
    """The weights [E] whose sum of estimates [E, ...] is nearest to the truth, by least squares.

    A control variate is one such sum: f - c (g - g'), where g is to f what errs alike and g' what g estimates.
    """
    columns = estimates.reshape(len(estimates), -1).T
    found: Array = np.linalg.lstsq(columns.astype(np.float64), truth.ravel().astype(np.float64), rcond=None)[0]
    return found


def combined(estimates: Array, weights: Array) -> Array:
    """The weighted sum [...] of estimates [E, ...]."""
    return np.tensordot(weights, estimates, axes=1)


def blurred(maps: Array, radius: float) -> Array:
    """Maps [..., h, w] under a Gaussian of that standard deviation in cells; at the edges the nearest cell goes on."""
    reach = max(1, int(np.ceil(3 * radius)))
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / radius) ** 2)
    kernel /= kernel.sum()
    for axis in (-2, -1):
        width = [(reach, reach) if one == axis % maps.ndim else (0, 0) for one in range(maps.ndim)]
        padded = np.pad(maps, width, mode="edge")
        size = maps.shape[axis]
        maps = sum(
            weight * np.take(padded, np.arange(start, start + size), axis=axis) for start, weight in enumerate(kernel)
        )
    return maps
