"""The graded bench's trained models, as `testbed.bench` scans them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.run.request import Request
from testbed.bench.model import MEASURED_SEEDS, SAMPLING, STRENGTH_SEEDS
from testbed.bench.scans import exported
from testbed.dataset import masks
from testbed.graded.captions import graded
from testbed.graded.pictures import commons
from testbed.graded.prompts import others
from testbed.graded.train import EARLY, START_NAME, folder_name


@dataclass(frozen=True)
class Model:
    """A pipeline folder `folder` in a work folder, to be scanned with the prompts of one seed of the bench."""

    work: Path
    folder: str
    seed: int
    sampling: Request = SAMPLING
    strength_seeds: tuple[int, ...] = STRENGTH_SEEDS
    measured_seeds: tuple[int, ...] = MEASURED_SEEDS
    own_baseline: str = START_NAME

    @classmethod
    def trained(cls, work: Path, seed: int, dropout: int) -> "Model":
        """What `python -m testbed.graded.train` left."""
        return cls(work, folder_name(seed, dropout), seed)

    @classmethod
    def start(cls, work: Path, seed: int) -> "Model":
        """What training starts from: it has never seen what the captions own."""
        return cls(work, START_NAME, seed)

    @property
    def baselines(self) -> dict[str, str]:
        """The start, if training started from one that can draw, and the early checkpoints of the same training."""
        start = {"start": START_NAME} if self.own_baseline == START_NAME else {}
        return start | {f"{round(100 * share)}%": f"{self.folder}-at{round(100 * share):02d}" for share in EARLY}

    def file(self, what: str) -> Path:
        return self.work / (f"{self.folder}-{what}" + (f"-seed{self.seed}" if self.folder == START_NAME else ""))

    def bundle(self, baseline: str) -> Path:
        return exported(self.work, self.folder, baseline)

    def prompts(self) -> list[dict[str, Any]]:
        """Graded captions, then common ones (kind "common"), then prompts that are no captions (kind is their sort)."""
        rows: list[dict[str, Any]] = [
            {"kind": c.kind, "prompt": c.prompt, "count": c.count, "index": c.index, "split": c.split}
            for c in graded(self.seed)
        ]
        rows += [{"kind": "common", "prompt": c.prompt, "count": 0, "split": "heldout"} for c in commons()]
        return rows + [{"kind": o.sort, "prompt": o.prompt, "count": 0, "split": "heldout"} for o in others(self.seed)]

    def mask(self, index: int) -> NDArray[np.bool_]:
        return masks(graded(self.seed)[index].caption).memorized
