"""The emoji that the bench draws: their names as words, their pictures, and which have no twin."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from testbed.emoji.fetch import ARTWORK

LONGEST = 5  # words of a name
TWIN = 0.15  # RMSE within an emoji's outline, above which another one at its place is no likeness of it
COARSE = 16  # side at which emoji are compared
LEFT_OUT = ("Component", "Flags")  # tones of skin, and what is told by its colours alone


@dataclass(frozen=True)
class Artwork:
    """N emoji.

    Attributes:
        names: distinct; words of the letters a to z.
        rgba: [N, SIDE, SIDE, 4] uint8.
    """

    names: tuple[str, ...]
    rgba: NDArray[np.uint8]

    @cached_property
    def single(self) -> NDArray[np.intp]:
        """Indices of the emoji that no other one resembles: not one of sixty yellow faces."""
        return np.flatnonzero(nearest(self.rgba) > TWIN)


def words(name: str) -> str:
    """A name as the captions have it: lower case, no accents, letters only."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return " ".join(re.findall("[a-z]+", plain))


def load(work: Path) -> Artwork:
    """The emoji that `python -m testbed.emoji.fetch` left, without those whose name is not theirs alone, is long or
    has digits, and without the categories LEFT_OUT.

    Raises:
        FileNotFoundError: nothing has been fetched.
    """
    with np.load(work / ARTWORK) as stored:
        said, categories, rgba = stored["name"].tolist(), stored["category"].tolist(), stored["rgba"]
    names = [words(name) for name in said]
    times = Counter(names)
    kept = [
        i
        for i, name in enumerate(names)
        if times[name] == 1
        and 1 <= len(name.split()) <= LONGEST
        and not re.search("[0-9]", said[i])
        and categories[i] not in LEFT_OUT
    ]
    return Artwork(tuple(names[i] for i in kept), rgba[kept])


def nearest(rgba: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Of every emoji, the RMSE [N] to the nearest other one at its place on a grey ground, within its own outline."""
    coarse = np.stack([np.asarray(Image.fromarray(one).resize((COARSE, COARSE))) for one in rgba]) / np.float32(255)
    alpha = coarse[..., 3:]
    shown = (coarse[..., :3] * alpha + (1 - alpha) / 2).reshape(len(rgba), -1)
    inside = np.repeat(alpha >= 0.5, 3, axis=-1).reshape(len(rgba), -1).astype(np.float32)
    squares = (inside * shown**2).sum(axis=1)[:, None] - 2 * (inside * shown) @ shown.T + inside @ (shown**2).T
    squares /= np.maximum(inside.sum(axis=1), 1)[:, None]
    np.fill_diagonal(squares, np.inf)
    return np.sqrt(np.maximum(squares.min(axis=1), 0)).astype(np.float64)
