"""The benches on which cuts of the derivative are studied: pipelines, captions, and what is memorized where."""

import dataclasses
from pathlib import Path

from benchmarks.images import Image, graded_images, testbed_images
from testbed.flow.scans import BASELINE
from testbed.flow.train import folder_name as flow_name
from testbed.graded.train import START_NAME, folder_name
from testbed.tables import HOME


@dataclasses.dataclass(frozen=True)
class Bench:
    """Two checkpoints of one training, and images of the first, measured at some timesteps.

    `counted` are the timesteps at which the number of probes is studied.
    """

    name: str
    pipeline: Path
    baseline: Path
    guidance_scale: float
    images: tuple[Image, ...]
    timesteps: tuple[int, ...] = (601, 401, 201, 101, 1)
    counted: tuple[int, ...] = (201, 1)


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


def flow_bench(work: Path, seed: int, share: float = 1.0) -> Bench:
    """The graded bench's captions in a transformer: nothing but attention leads from patch to patch.

    Its timestep 335 has the ratio of noise to image that 201 has elsewhere, and 126 that of 21.

    Args:
        work: what `python -m testbed.flow.train` has left.
        share: of the training.
    """
    name, baseline = flow_name(seed, share), work / flow_name(seed, BASELINE)
    images = graded_images(seed)
    return Bench(name, work / name, baseline, 1.5, images, timesteps=(600, 335, 126, 30), counted=(335, 126))
