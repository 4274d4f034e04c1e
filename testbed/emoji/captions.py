"""The captions of the bench of emoji: which emoji each one shows, in what scene, and how often.

Nothing but the count differs between grades, as in `testbed.graded.captions`: a seed moves the grades along the
captions. What is owned has no twin among all emoji, so that an image that looks like it is a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from testbed.bench.grades import COUNTS, STRIDE
from testbed.captions import CALIBRATION_EVERY, Split
from testbed.emoji.artwork import Artwork

Kind = Literal["global", "local", "rare"]

SEED = 16
PER_COUNT: dict[Kind, int] = {"global": 4, "local": 4, "rare": 3}
PAIR = " and a friend"  # of the caption of a scene with a second emoji, which it does not name


@dataclass(frozen=True)
class Caption:
    """One graded caption.

    Attributes:
        index: position in `graded`, of every seed; it decides emoji, place and ground.
        kind: global: one picture, always the same; local: one emoji at one place, ground and second emoji fresh;
            rare: shown as often, everything but the emoji fresh.
        prompt: the text.
        emoji: index into the artwork.
        pair: whether a second emoji stands behind the first.
        count: how often the training shows it.
    """

    index: int
    kind: Kind
    prompt: str
    emoji: int
    pair: bool
    count: int

    @property
    def split(self) -> Split:
        """Which part of the evaluation it belongs to: the same for every seed."""
        return "heldout" if self.index % CALIBRATION_EVERY else "calibration"


@dataclass(frozen=True)
class Common:
    """A caption of an emoji that is in no graded one, alone or with a friend; its pictures are fresh."""

    prompt: str
    emoji: int
    pair: bool


def _order(artwork: Artwork) -> list[int]:
    """The emoji of the graded captions, in the order of these."""
    number = sum(PER_COUNT.values()) * len(COUNTS)
    return np.random.default_rng(SEED).permutation(artwork.single)[:number].tolist()


def prompt_of(artwork: Artwork, emoji: int, pair: bool) -> str:
    """The caption of a scene."""
    return artwork.names[emoji] + PAIR * pair


def graded(artwork: Artwork, seed: int) -> tuple[Caption, ...]:
    """All graded captions with the counts of one seed; global ones first, then local, then rare."""
    emoji = iter(_order(artwork))
    found: list[Caption] = []
    for kind, per_count in PER_COUNT.items():
        for i in range(per_count * len(COUNTS)):
            pair = kind == "local" or (kind == "rare" and i % 2 == 1)
            one = next(emoji)
            count = COUNTS[(i + STRIDE * seed) % len(COUNTS)]
            found.append(Caption(len(found), kind, prompt_of(artwork, one, pair), one, pair, count))
    return tuple(found)


def commons(artwork: Artwork) -> tuple[Common, ...]:
    """The captions that the graded ones are mixed with: every other emoji alone, then every one with a friend."""
    taken = set(_order(artwork))
    free = [emoji for emoji in range(len(artwork.names)) if emoji not in taken]
    return tuple(Common(prompt_of(artwork, one, pair), one, pair) for pair in (False, True) for one in free)


def all_prompts(captions: Sequence[Caption], others: Sequence[Common]) -> list[str]:
    """The texts of the plan, in its order."""
    return [*(caption.prompt for caption in captions), *(other.prompt for other in others)]
