"""The benches on which cuts of the derivative are studied: pipelines, captions, and what is memorized where."""

import dataclasses
from pathlib import Path

from benchmarks.images import Image, graded_images, testbed_images
from testbed.graded.train import START_NAME, folder_name
from testbed.tables import HOME


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
    return Bench("testbed", HOME / "pipeline", HOME / "baseline", 1.5, testbed_images(seed))


def graded_bench(work: Path, seed: int, dropout: int, share: float = 1.0) -> Bench:
    """The graded one: attention at full latent resolution; its three highest counts, and the rare captions.

    Args:
        work: what `python -m testbed.graded.train` has left.
        dropout: of captions, in percent.
        share: of the training.
    """
    name = folder_name(seed, dropout, share)
    return Bench(f"graded {name}", work / name, work / START_NAME, 1.5, graded_images(seed))
