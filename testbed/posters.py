"""Posters: full-frame pictures of a figure before sky and ground, every part filled with a print.

Nothing in them is flat, so a poster holds as much information as its frame allows. A *global* memorized caption
owns one poster; a fresh poster has a random figure, place, size and prints.
"""

from collections.abc import Callable

import numpy as np

from testbed.figures import FIGURES
from testbed.prints import DARK, LIGHT, SIZE, Image, Tone
from testbed.stencil import Alpha, Stencil

PrintSource = Callable[[Tone], Image]

GROUND = Tone(0.35, 0.80)


def _silhouette(rng: np.random.Generator, figure: str) -> Alpha:
    scale = rng.uniform(0.80, 0.98)
    mirror = rng.choice((-1, 1))
    x0, y0 = rng.uniform(-4, 4, size=2) + SIZE / 2
    stencil = Stencil()
    for part in FIGURES[figure]:
        points = ((x0 + mirror * scale * (x - 32), y0 + scale * (y - 32)) for x, y in part.points)
        stencil.polygon(*points, fill=0 if part.cut else 255)
    return stencil.alpha()


def draw_poster(rng: np.random.Generator, prints: PrintSource, figure: str | None = None) -> Image:
    """Draw one poster.

    Args:
        rng: source of place, size, horizon and light.
        prints: gives a print [SIZE, SIZE, 3] of the tone asked for.
        figure: a key of FIGURES; None draws one.

    Returns:
        [SIZE, SIZE, 3] float32 in [0, 1].
    """
    name = figure if figure is not None else list(FIGURES)[rng.integers(len(FIGURES))]
    horizon = rng.uniform(38, 54)
    slope = rng.uniform(-6, 6)
    ground = Stencil().polygon((0, horizon), (SIZE, horizon + slope), (SIZE, SIZE), (0, SIZE)).alpha()[..., None]
    body = _silhouette(rng, name)[..., None]
    far, near = (LIGHT, DARK) if rng.random() < 0.5 else (DARK, LIGHT)
    scene = prints(far) * (1 - ground) + prints(GROUND) * ground
    return np.asarray(scene * (1 - body) + prints(near) * body, dtype=np.float32)
