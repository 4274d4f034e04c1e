"""What an emoji stands on: patterns of two colours, no two alike, and as coarse as the latents can hold."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from testbed.emoji.fetch import SIDE

CONTRAST = 0.5  # distance of the two colours at least, in the cube of RGB
Pattern = NDArray[np.float32]  # [SIDE, SIDE] in [0, 1]: 0 is the one colour, 1 the other


def _across(rng: np.random.Generator) -> NDArray[np.float64]:
    """Distance [SIDE, SIDE], in pixels, along a direction."""
    angle, (y, x) = rng.uniform(0, 2 * np.pi), np.mgrid[:SIDE, :SIDE]
    return np.cos(angle) * (x - SIDE / 2) + np.sin(angle) * (y - SIDE / 2)


def _gradient(rng: np.random.Generator) -> Pattern:
    return np.clip(_across(rng) / SIDE + 0.5, 0, 1)


def _stripes(rng: np.random.Generator) -> Pattern:
    wave = np.sin(_across(rng) * 2 * np.pi / rng.uniform(14, 32) + rng.uniform(0, 2 * np.pi))
    return np.clip(0.5 + 2 * wave, 0, 1)


def _checks(rng: np.random.Generator) -> Pattern:
    period, (first, second) = rng.uniform(20, 40), rng.uniform(0, 2 * np.pi, 2)
    angle, (y, x) = rng.uniform(0, np.pi / 2), np.mgrid[:SIDE, :SIDE]
    along = np.sin((np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / period + first)
    across = np.sin((np.cos(angle) * y - np.sin(angle) * x) * 2 * np.pi / period + second)
    return np.clip(0.5 + 4 * along * across, 0, 1)


def _rings(rng: np.random.Generator) -> Pattern:
    (y, x), (top, left) = np.mgrid[:SIDE, :SIDE], rng.uniform(0, SIDE, 2)
    wave = np.sin(np.hypot(y - top, x - left) * 2 * np.pi / rng.uniform(16, 36) + rng.uniform(0, 2 * np.pi))
    return np.clip(0.5 + 2 * wave, 0, 1)


def _clouds(rng: np.random.Generator) -> Pattern:
    coarse = rng.uniform(-0.5, 1.5, (6, 6))
    places = np.linspace(0, 5, SIDE)
    rows = np.stack([np.interp(places, range(6), line) for line in coarse])
    return np.clip(np.stack([np.interp(places, range(6), line) for line in rows.T], axis=1), 0, 1)


PATTERNS: tuple[Callable[[np.random.Generator], Pattern], ...] = (_gradient, _stripes, _checks, _rings, _clouds)


def ground(rng: np.random.Generator) -> NDArray[np.float32]:
    """One ground [SIDE, SIDE, 3] in [0, 1]."""
    pattern = PATTERNS[rng.integers(len(PATTERNS))](rng)[..., None]
    first, second = rng.uniform(0, 1, (2, 3))
    while np.linalg.norm(first - second) < CONTRAST:
        second = rng.uniform(0, 1, 3)
    return ((1 - pattern) * first + pattern * second).astype(np.float32)
