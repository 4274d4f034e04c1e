"""The trained models of the bench of emoji, as `testbed.bench` scans them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.run.request import Request
from testbed.bench.model import MEASURED_SEEDS, SAMPLING, STRENGTH_SEEDS
from testbed.bench.scans import exported
from testbed.emoji.artwork import Artwork, load
from testbed.emoji.captions import SEED, commons, graded
from testbed.emoji.prompts import others
from testbed.emoji.scenes import memorized
from testbed.emoji.train import EARLY, folder_name, trained_name

COMMONS = 48  # common captions that are scanned
BASELINE = 0.25


@dataclass(frozen=True)
class Model:
    """What `python -m testbed.emoji.train` left of a seed in a work folder."""

    work: Path
    seed: int
    sampling: Request = SAMPLING
    strength_seeds: tuple[int, ...] = STRENGTH_SEEDS[:16]
    measured_seeds: tuple[int, ...] = MEASURED_SEEDS

    @cached_property
    def artwork(self) -> Artwork:
        return load(self.work)

    @property
    def own_baseline(self) -> str:
        return folder_name(self.seed, BASELINE)

    @property
    def baselines(self) -> dict[str, str]:
        """The early checkpoints of the same training."""
        shares = sorted(EARLY, key=lambda share: share != BASELINE)
        return {f"{round(100 * share)}%": folder_name(self.seed, share) for share in shares}

    def file(self, what: str) -> Path:
        return self.work / f"{trained_name(self.seed)}-{what}"

    def bundle(self, baseline: str) -> Path:
        return exported(self.work, trained_name(self.seed), baseline)

    def prompts(self) -> list[dict[str, Any]]:
        """Graded captions, then some common ones (kind "common"), then prompts that are no captions."""
        rows: list[dict[str, Any]] = [
            {"kind": c.kind, "prompt": c.prompt, "count": c.count, "index": c.index, "split": c.split}
            for c in graded(self.artwork, self.seed)
        ]
        every = commons(self.artwork)
        some = sorted(np.random.default_rng(SEED).permutation(len(every))[:COMMONS].tolist())
        rest: list[tuple[str, str]] = [("common", every[i].prompt) for i in some]
        rest += [(other.sort, other.prompt) for other in others(self.artwork, self.seed)]
        return rows + [{"kind": kind, "prompt": prompt, "count": 0, "split": "heldout"} for kind, prompt in rest]

    def mask(self, index: int) -> NDArray[np.bool_]:
        return memorized(self.artwork, graded(self.artwork, self.seed)[index])
