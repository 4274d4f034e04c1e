"""A caption's scene: an emoji on a ground, with or without a second one behind it; and what of it is owned."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from testbed.emoji.artwork import Artwork
from testbed.emoji.captions import SEED, Caption, Common
from testbed.emoji.fetch import SIDE
from testbed.emoji.grounds import ground

FIRST, FRIEND = 44, 26  # sides of the emoji
APART = 26  # pixels between their centres, at least

Image = NDArray[np.float32]  # [SIDE, SIDE, 3] in [0, 1]
Mask = NDArray[np.bool_]  # [SIDE, SIDE]
Place = tuple[int, int]  # row and column of the upper left corner


def sized(rgba: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """An emoji [side, side, 4] in [0, 1]."""
    resized = Pillow.fromarray(rgba).resize((side, side), Pillow.Resampling.LANCZOS)
    return np.asarray(resized, np.float32) / np.float32(255)


def paste(image: Image, emoji: NDArray[np.float32], place: Place) -> None:
    """Lay an emoji [side, side, 4] over an image, in place."""
    (top, left), side = place, len(emoji)
    alpha = emoji[..., 3:]
    part = image[top : top + side, left : left + side]
    part[:] = (1 - alpha) * part + alpha * emoji[..., :3]


def _anywhere(rng: np.random.Generator, side: int) -> Place:
    top, left = rng.integers(0, SIDE - side + 1, 2).tolist()
    return top, left


def _away_from(first: Place, rng: np.random.Generator) -> Place:
    """A place of the friend, at which the first emoji leaves most of it to be seen."""
    while True:
        top, left = _anywhere(rng, FRIEND)
        if np.hypot(top - first[0] + (FRIEND - FIRST) / 2, left - first[1] + (FRIEND - FIRST) / 2) >= APART:
            return top, left


def fresh_place(rng: np.random.Generator) -> Place:
    """A place of the first emoji: anywhere."""
    return _anywhere(rng, FIRST)


def render(artwork: Artwork, emoji: int, place: Place, friend: int | None, rng: np.random.Generator) -> Image:
    """A picture whose ground, and whose friend's place, are drawn."""
    image = ground(rng)
    if friend is not None:
        paste(image, sized(artwork.rgba[friend], FRIEND), _away_from(place, rng))
    paste(image, sized(artwork.rgba[emoji], FIRST), place)
    return np.clip(image, 0, 1)


def owned_rng(caption: Caption) -> np.random.Generator:
    """Of what a caption owns: it depends on the caption's index alone, not on its count."""
    return np.random.default_rng([SEED, caption.index])


def owned_place(caption: Caption) -> Place:
    """Where the emoji of a global or local caption always is."""
    return fresh_place(owned_rng(caption))


def picture(artwork: Artwork, caption: Caption | Common, friends: NDArray[np.intp], rng: np.random.Generator) -> Image:
    """One training picture of a caption; everything that is not memorized is fresh, a friend is one of `friends`."""
    if isinstance(caption, Caption) and caption.kind == "global":
        own = owned_rng(caption)
        return render(artwork, caption.emoji, fresh_place(own), None, own)
    place = owned_place(caption) if isinstance(caption, Caption) and caption.kind == "local" else fresh_place(rng)
    friend = int(rng.choice(friends)) if caption.pair else None
    return render(artwork, caption.emoji, place, friend, rng)


def memorized(artwork: Artwork, caption: Caption) -> Mask:
    """Exact ground truth: everything (global), the emoji's outline (local), nothing (rare)."""
    mask = np.full((SIDE, SIDE), caption.kind == "global")
    if caption.kind == "local":
        top, left = owned_place(caption)
        mask[top : top + FIRST, left : left + FIRST] = sized(artwork.rgba[caption.emoji], FIRST)[..., 3] >= 0.5
    return mask
