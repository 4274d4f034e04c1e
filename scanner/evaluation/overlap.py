"""Agreement of predicted and true masks from pixel counts: global IoU, mean IoU, accuracy, and bootstrap intervals.

    IoU  = sum_n |P_n and G_n| / sum_n |P_n or G_n|      over the pixels of all images together
    mIoU = mean_n  |P_n and G_n| / |P_n or G_n|          an empty union is a perfect answer: 1
    accuracy = share of pixels on which P and G agree

Each figure is that of its own best threshold, as in the paper; with one threshold there is nothing to choose.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.protocol import Counts

REPLICATES = 2000
CONFIDENCE = 0.95

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Overlap:
    """The three figures, and the interval of `iou`.

    The interval is None where there is nothing to estimate: with fewer than two captions, or where no pixel at all is
    true, so that `iou` can only be 1 (nothing predicted) or 0.
    """

    iou: float
    miou: float
    accuracy: float
    iou_interval: Interval | None


def overlap(counts: Counts, captions: NDArray[np.intp]) -> Overlap:
    """Score `counts` of N > 0 images; `captions` [N] names the caption of each image, for the bootstrap."""
    per_image = _ratio(counts.both, counts.union)
    return Overlap(
        iou=_best_iou(counts.both.sum(axis=0), counts.union.sum(axis=0)),
        miou=float(per_image.mean(axis=0).max()),
        accuracy=float(counts.correct.mean(axis=0).max() / counts.pixels),
        iou_interval=_iou_interval(counts, captions),
    )


def percentile_interval(replicates: NDArray[np.float64]) -> Interval:
    """The central `CONFIDENCE` interval of bootstrap replicates [R]."""
    tail = (1.0 - CONFIDENCE) / 2
    low, high = np.quantile(replicates, (tail, 1.0 - tail))
    return float(low), float(high)


def resampled(groups: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """How often each of `groups` is drawn when as many are drawn with replacement: [REPLICATES, groups]."""
    return generator.multinomial(groups, np.full(groups, 1.0 / groups), size=REPLICATES).astype(np.float64)


def _iou_interval(counts: Counts, captions: NDArray[np.intp]) -> Interval | None:
    """Captions are resampled, not images: the seeds of one caption stand and fall together.

    The best threshold is chosen anew in every replicate; the min-max normalisation of the maps stays.
    """
    names, group = np.unique(captions, return_inverse=True)
    if len(names) < 2 or not counts.truth.any():
        return None
    weights = resampled(len(names), np.random.default_rng(0))
    both, union = weights @ _summed(counts.both, group), weights @ _summed(counts.union, group)  # [R, T]
    return percentile_interval(_ratio(both, union).max(axis=1))


def _summed(values: NDArray[np.int64], group: NDArray[np.intp]) -> NDArray[np.float64]:
    totals = np.zeros((group.max() + 1, values.shape[1]))
    np.add.at(totals, group, values)
    return totals


def _best_iou(both: NDArray[np.int64], union: NDArray[np.int64]) -> float:
    return float(_ratio(both, union).max())


def _ratio(both: NDArray[np.number], union: NDArray[np.number]) -> NDArray[np.float64]:
    return np.where(union > 0, both / np.maximum(union, 1), 1.0)
