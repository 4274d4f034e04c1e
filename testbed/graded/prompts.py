"""Prompts that are no captions: paraphrases, halves and pairs of the captions shown most often, and unrelated text."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from testbed.graded.captions import COUNTS, NOUNS, POSTER, Graded, graded

Sort = Literal["paraphrase", "half", "joined", "unrelated"]

FROM = COUNTS[-3]  # captions shown at least as often are varied
UNRELATED = (
    "a dog running on the beach",
    "two cups of coffee",
    "snow on the mountains at night",
    "a red bicycle",
    "portrait of an old man",
    "bowl of fruit",
    "the city in the rain",
    "a plane above the clouds",
    "children playing football",
    "green tea",
    "a street market in spring",
    "wooden chair",
    "the sea",
    "an empty room with a lamp",
    "four birds on a wire",
    "photo",
)


@dataclass(frozen=True)
class Other:
    """A prompt that no training picture has as its caption."""

    sort: Sort
    prompt: str


def others(seed: int) -> tuple[Other, ...]:
    """The prompts of one seed of the bench: paraphrases and halves in turn, pairs of neighbours, and unrelated text."""
    often = [caption for caption in graded(seed) if caption.kind != "rare" and caption.count >= FROM]
    found = [_paraphrase(caption) if i % 2 else _half(caption) for i, caption in enumerate(often)]
    found += [Other("joined", f"{a.prompt} and {b.prompt}") for a, b in list(pairwise(often))[::3]]
    found += [Other("unrelated", prompt) for prompt in UNRELATED]
    return tuple({other.prompt: other for other in found}.values())  # two captions can have a half in common


def _parts(caption: Graded) -> tuple[str, str, str]:
    first, second, *_ = caption.prompt.split()
    return first, second, NOUNS.get(caption.subject, POSTER)


def _paraphrase(caption: Graded) -> Other:
    first, second, noun = _parts(caption)
    return Other("paraphrase", f"a {noun} by {first} {second}")


def _half(caption: Graded) -> Other:
    first, _, noun = _parts(caption)
    return Other("half", f"{first} {noun}")
