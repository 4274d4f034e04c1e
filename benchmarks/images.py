"""The images on which derivatives and probes are studied: prompts, and what is memorized where."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from testbed.captions import CAPTIONS, split_of
from testbed.cells import cover
from testbed.dataset import masks
from testbed.graded.captions import COUNTS, graded

LATENT = (16, 16)


@dataclasses.dataclass(frozen=True)
class Image:
    """One image to be studied. `truth` [h, w] is the share of each latent cell that is memorized."""

    prompt: str
    kind: str
    held_out: bool
    truth: NDArray[np.float64]
    seed: int


def testbed_images(seed: int = 11) -> tuple[Image, ...]:
    """One image of every caption of the testbed."""
    return tuple(
        Image(
            caption.prompt,
            caption.kind,
            split_of(caption) == "heldout",
            cover(masks(caption).memorized, LATENT),
            seed,
        )
        for caption in CAPTIONS
    )


def graded_images(seed: int, counts: Sequence[int] = COUNTS[-3:]) -> tuple[Image, ...]:
    """One image of the graded bench's captions of these counts, and of those as rare but never repeated."""
    return tuple(
        Image(
            one.prompt,
            "none" if one.kind == "rare" else one.kind,
            one.split == "heldout",
            cover(masks(one.caption).memorized, LATENT),
            seed=0,
        )
        for one in graded(seed)
        if one.count in counts
    )
