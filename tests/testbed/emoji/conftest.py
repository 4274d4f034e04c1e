"""Made-up emoji: coarse mosaics with a round outline, no two alike, and a pair of twins."""

from itertools import product

import numpy as np
import pytest

from testbed.emoji.artwork import Artwork
from testbed.emoji.fetch import SIDE

NUMBER = 140
SYLLABLES = ("ba", "ko", "mi", "ru", "te")


@pytest.fixture(scope="session")
def artwork() -> Artwork:
    """NUMBER emoji of three-syllable names in two words; the last one is a twin of the last but one."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    disc = np.hypot(y, x) < SIDE / 2 - 4
    rgba = np.zeros((NUMBER, SIDE, SIDE, 4), np.uint8)
    rgba[..., :3] = np.kron(rng.integers(0, 2, (NUMBER, 8, 8, 3)) * 255, np.ones((1, 8, 8, 1)))
    rgba[..., 3] = disc * 255
    rgba[-1] = rgba[-2]
    names = [f"{a}{b} {c}{d}" for a, b, c, d in product(SYLLABLES, repeat=4)][:NUMBER]
    return Artwork(tuple(names), rgba)
