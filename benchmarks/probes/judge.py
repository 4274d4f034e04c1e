"""What an estimate is worth: its error, and what a user gets of it, over repetitions with other probes.

Thresholds are chosen on the calibration captions, for each repetition by itself, and judged on the held-out ones.
Intervals are 95% bootstraps over held-out captions, the same draws for all, so that differences are paired.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.images import Image
from memscan.scanner.calibration.thresholds import best_threshold
from memscan.scanner.evaluation.detection import detection
from memscan.scanner.evaluation.overlap import Interval, percentile_interval, resampled

Array = NDArray[np.float32]
_QUANTILE = 0.9


@dataclasses.dataclass(frozen=True)
class Truth:
    """`covers` [N, h, w], the share of each cell that is memorized; `held_out` and `kinds` [N]."""

    covers: NDArray[np.float64]
    held_out: NDArray[np.bool_]
    kinds: NDArray[np.str_]

    @classmethod
    def of(cls, images: Sequence[Image]) -> "Truth":
        return cls(
            np.stack([image.truth for image in images]),
            np.array([image.held_out for image in images]),
            np.array([image.kind for image in images]),
        )


@dataclasses.dataclass(frozen=True)
class Judged:
    """Means over the repetitions.

    `error` is the distance to the reference over its norm, over held-out images; `rest` the same after the best factor.
    `iou` is that of held-out local images and `replicates` [B] its bootstrap, `everywhere` the IoU of all held-out
    images. `auc` is of the map's 90% quantile, memorized against none.
    """

    error: float
    rest: float
    iou: float
    spread: float
    replicates: NDArray[np.float64]
    everywhere: float
    auc: float

    @property
    def interval(self) -> Interval:
        return percentile_interval(self.replicates)

    def less(self, other: "Judged") -> tuple[float, Interval]:
        """The difference of IoU to another estimate, and its interval."""
        return self.iou - other.iou, percentile_interval(self.replicates - other.replicates)


def judge(repeated: Sequence[Array], reference: Array, truth: Truth) -> Judged:
    """Judge the maps [N, h, w] of several repetitions of one estimate."""
    local = truth.held_out & (truth.kinds == "local")
    draws = resampled(int(local.sum()), np.random.default_rng(0))
    memorized, each = truth.kinds != "none", np.arange(len(truth.kinds))
    found = []
    bootstrapped = []
    for maps in repeated:
        both, union = _counts(maps, truth)
        quantiles = np.quantile(maps.reshape(len(maps), -1), _QUANTILE, axis=1)
        detected = detection(quantiles, memorized, each)
        here, there = maps[truth.held_out], reference[truth.held_out]
        scale = float((here * there).sum() / np.square(here).sum())
        found.append(
            (
                distance(here, there),
                distance(scale * here, there),
                both[local].sum() / union[local].sum(),
                both[truth.held_out].sum() / union[truth.held_out].sum(),
                detected.auc if detected else np.nan,
            )
        )
        bootstrapped.append((draws @ both[local]) / (draws @ union[local]))
    error, rest, iou, everywhere, auc = np.array(found, np.float64).T
    return Judged(
        float(error.mean()),
        float(rest.mean()),
        float(iou.mean()),
        float(iou.std()),
        np.mean(bootstrapped, axis=0),
        float(everywhere.mean()),
        float(auc.mean()),
    )


def _counts(maps: Array, truth: Truth) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cells of each image in both masks, and in one of them, at the threshold that calibration captions choose."""
    calibrating = ~truth.held_out
    threshold = best_threshold(maps[calibrating], truth.covers[calibrating]).threshold
    predicted = maps >= threshold
    both = (truth.covers * predicted).sum(axis=(1, 2))
    union = truth.covers.sum(axis=(1, 2)) + predicted.sum(axis=(1, 2)) - both
    return both, union


def distance(maps: Array, reference: Array) -> float:
    """Norm of the difference over the norm of the reference."""
    return float(np.linalg.norm(maps - reference) / np.linalg.norm(reference))
