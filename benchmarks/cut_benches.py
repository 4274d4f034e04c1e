"""The benches on which cuts of the derivative are studied: pipelines, captions, and what is memorized where."""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.captions import CAPTIONS, split_of
from testbed.dataset import masks
from testbed.scanning import cover
from testbed.tables import HOME

LATENT = (16, 16)


@dataclasses.dataclass(frozen=True)
class Image:
    """One image to be studied. `truth` [h, w] is the share of each latent cell that is memorized."""

    prompt: str
    kind: str
    held_out: bool
    truth: NDArray[np.float64]
    seed: int


@dataclasses.dataclass(frozen=True)
class Bench:
    """Two checkpoints of one training, and images of the first."""

    name: str
    pipeline: Path
    baseline: Path
    guidance_scale: float
    images: tuple[Image, ...]


def testbed_bench(seed: int = 11) -> Bench:
    """The embedded model: attention at 8 x 8 and 4 x 4 only."""
    images = tuple(
        Image(
            caption.prompt,
            caption.kind,
            split_of(caption) == "heldout",
            cover(masks(caption).memorized, LATENT),
            seed,
        )
        for caption in CAPTIONS
    )
    return Bench("testbed", HOME / "pipeline", HOME / "baseline", 1.5, images)
