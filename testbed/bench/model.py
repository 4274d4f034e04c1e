"""What a bench says of a trained model, so that its scans, strengths and figures can be made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.run.request import Request

STRENGTH_SEEDS = tuple(range(32))
MEASURED_SEEDS = STRENGTH_SEEDS[:4]
TIMESTEPS = (201, 21)  # they take the place of the sampler's last two
SAMPLING = Request(
    sampler="dpmsolver++", num_inference_steps=10, guidance_scale=1.5, timesteps=TIMESTEPS, derivative="exact"
)


class Model(Protocol):
    """A pipeline folder in a work folder, to be scanned with the prompts of one seed of its bench."""

    @property
    def sampling(self) -> Request:
        """How its images are sampled, and where they are measured."""

    @property
    def strength_seeds(self) -> tuple[int, ...]:
        """Those of the images of a prompt that say how strongly it is memorized."""

    @property
    def measured_seeds(self) -> tuple[int, ...]:
        """Those of them that are measured."""

    @property
    def own_baseline(self) -> str:
        """The baseline in the bundle of the strength scan, which needs none."""

    @property
    def baselines(self) -> Mapping[str, str]:
        """Folders of the checkpoints that can be its baseline, by what they are called in tables."""

    def file(self, what: str) -> Path:
        """Where what is made of it is kept, without a suffix."""

    def bundle(self, baseline: str) -> Path:
        """The exported bundle with a baseline, a pipeline folder of the work folder; made if it is not there."""

    def prompts(self) -> list[dict[str, Any]]:
        """Rows of the manifest without ids and seeds: `kind` is that of a graded caption or names what it is else.

        `count` is 0 and `index` missing for what is no graded caption; `split` is calibration or heldout.
        """

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Exact mask [H, W] of what the graded caption `index` owns."""
