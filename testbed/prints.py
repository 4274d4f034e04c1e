"""Procedural prints: mosaics, quilts, terrazzo and the like, with random colours cell by cell.

A print is the high-entropy content of every picture. Its cells are 4 to 8 pixels wide, about the size of one
latent cell, so nothing in it can be guessed from its neighbours: what a model knows about a print, it has memorized.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 64
SUPERSAMPLING = 2
CELLS = 64

Image = NDArray[np.float32]  # [SIZE, SIZE, 3] in [0, 1]
Field = NDArray[np.float64]  # [SIZE * SUPERSAMPLING] squared


@dataclass(frozen=True)
class Tone:
    """A family of palettes: how bright they are, and around which hue (None: any)."""

    low: float = 0.15
    high: float = 0.98
    hue: float | None = None


ANY = Tone()
LIGHT = Tone(0.68, 1.00)
DARK = Tone(0.12, 0.55)


def _cell_colours(rng: np.random.Generator, tone: Tone) -> NDArray[np.float64]:
    hue = rng.random() if tone.hue is None else tone.hue
    anchors = np.array(
        [
            colorsys.hsv_to_rgb((hue + rng.normal(0, 0.13)) % 1, rng.uniform(0.2, 0.9), value)
            for value in rng.uniform(tone.low, tone.high, size=7)
        ]
    )
    cells = anchors[rng.integers(len(anchors), size=(CELLS, CELLS))]
    return np.clip(cells + rng.normal(0, 0.07, size=cells.shape), 0, 1)


def _turned_grid(rng: np.random.Generator) -> tuple[Field, Field]:
    n = SIZE * SUPERSAMPLING
    y, x = (np.mgrid[0:n, 0:n] + 0.5) / SUPERSAMPLING
    angle = rng.uniform(0, np.pi)
    u = x * np.cos(angle) + y * np.sin(angle) + rng.uniform(100, 200)
    v = y * np.cos(angle) - x * np.sin(angle) + rng.uniform(100, 200)
    return u, v


def _pick(cells: NDArray[np.float64], row: Field, column: Field) -> NDArray[np.float64]:
    return cells[row.astype(int) % CELLS, column.astype(int) % CELLS]


def _nearest_seed(rng: np.random.Generator, pitch: float) -> tuple[Field, Field, Field]:
    u, v = (axis / pitch for axis in _turned_grid(rng))
    jitter = rng.uniform(0.1, 0.9, size=(2, CELLS, CELLS))
    left, top = np.floor(u - 0.5), np.floor(v - 0.5)  # the seeds of these four cells are the near ones
    best = np.full(u.shape, np.inf)
    best_row, best_column = top, left
    for i in (0, 1):
        for j in (0, 1):
            row, column = top + i, left + j
            index = (row.astype(int) % CELLS, column.astype(int) % CELLS)
            distance = np.hypot(column + jitter[0][index] - u, row + jitter[1][index] - v)
            closer = distance < best
            best = np.where(closer, distance, best)
            best_row, best_column = np.where(closer, row, best_row), np.where(closer, column, best_column)
    return best * pitch, best_row, best_column


def mosaic(rng: np.random.Generator, tone: Tone) -> NDArray[np.float64]:
    """Square tiles."""
    u, v = _turned_grid(rng)
    pitch = rng.uniform(4.0, 6.0)
    return _pick(_cell_colours(rng, tone), np.floor(v / pitch), np.floor(u / pitch))


def quilt(rng: np.random.Generator, tone: Tone) -> NDArray[np.float64]:
    """Squares cut along a diagonal into two triangles."""
    u, v = _turned_grid(rng)
    pitch = rng.uniform(6.0, 8.5)
    column, row = np.floor(u / pitch), np.floor(v / pitch)
    across, down = u / pitch - column, v / pitch - row
    turned = (rng.random((CELLS, CELLS)) < 0.5)[row.astype(int) % CELLS, column.astype(int) % CELLS]
    half = np.where(turned, across < down, across + down < 1)
    return np.where(
        half[..., None],
        _pick(_cell_colours(rng, tone), row, column),
        _pick(_cell_colours(rng, tone), row, column),
    )


def terrazzo(rng: np.random.Generator, tone: Tone) -> NDArray[np.float64]:
    """Irregular chips, edge to edge."""
    _, row, column = _nearest_seed(rng, rng.uniform(4.2, 6.5))
    return _pick(_cell_colours(rng, tone), row, column)


def confetti(rng: np.random.Generator, tone: Tone) -> NDArray[np.float64]:
    """Round dots on a patched ground."""
    pitch = rng.uniform(5.0, 6.5)
    distance, row, column = _nearest_seed(rng, pitch)
    dot = distance < 0.42 * pitch
    ground = mosaic(rng, tone)
    return np.where(dot[..., None], _pick(_cell_colours(rng, tone), row, column), ground)


def patchwork(rng: np.random.Generator, tone: Tone) -> NDArray[np.float64]:
    """Rows of patches, each row with its own width."""
    u, v = _turned_grid(rng)
    row = np.floor(v / rng.uniform(3.8, 5.5))
    width = rng.uniform(3.5, 9.0, size=CELLS)[row.astype(int) % CELLS]
    return _pick(_cell_colours(rng, tone), row, np.floor(u / width))


STYLES: dict[str, Callable[[np.random.Generator, Tone], NDArray[np.float64]]] = {
    "mosaic": mosaic,
    "quilt": quilt,
    "terrazzo": terrazzo,
    "confetti": confetti,
    "patchwork": patchwork,
}


def draw_print(rng: np.random.Generator, style: str | None = None, tone: Tone = ANY) -> Image:
    """Draw one print that fills the frame.

    Args:
        rng: source of every random choice.
        style: a key of STYLES; None draws one.
        tone: family of palettes.

    Returns:
        [SIZE, SIZE, 3] float32 in [0, 1].
    """
    name = style if style is not None else list(STYLES)[rng.integers(len(STYLES))]
    fine = STYLES[name](rng, tone)
    blocks = fine.reshape(SIZE, SUPERSAMPLING, SIZE, SUPERSAMPLING, 3)
    return blocks.mean(axis=(1, 3)).astype(np.float32)
