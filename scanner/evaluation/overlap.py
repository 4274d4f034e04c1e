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
    """The three figures, the index of the best threshold of each, and the interval of `iou`.

    The interval, and the `replicates` [R] of `iou` that it is made of, are None where there is nothing to estimate:
    with fewer than two captions, or where no pixel at all is true, so that `iou` can only be 1 (nothing predicted) or
    0. For the same captions replicates are drawn alike, so that differences are paired.
    """

    iou: float
    miou: float
    accuracy: float
    best_iou: int
    best_miou: int
    best_accuracy: int
    iou_interval: Interval | None
    replicates: NDArray[np.float64] | None


def overlap(counts: Counts, captions: NDArray[np.intp]) -> Overlap:
    """Score `counts` of N > 0 images; `captions` [N] names the caption of each image, for the bootstrap."""
    iou = ratio(counts.both.sum(axis=0), counts.union.sum(axis=0))
    miou = ratio(counts.both, counts.union).mean(axis=0)
    accuracy = counts.correct.mean(axis=0) / counts.pixels
    replicates = _replicates(counts, captions)
    return Overlap(
        iou=float(iou.max()),
        miou=float(miou.max()),
        accuracy=float(accuracy.max()),
        best_iou=int(iou.argmax()),
        best_miou=int(miou.argmax()),
        best_accuracy=int(accuracy.argmax()),
        iou_interval=None if replicates is None else percentile_interval(replicates),
        replicates=replicates,
    )


def percentile_interval(replicates: NDArray[np.float64]) -> Interval:
    """The central `CONFIDENCE` interval of bootstrap replicates [R]."""
    tail = (1.0 - CONFIDENCE) / 2
    low, high = np.quantile(replicates, (tail, 1.0 - tail))
    return float(low), float(high)


def resampled(groups: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """How often each of `groups` is drawn when as many are drawn with replacement: [REPLICATES, groups]."""
    return generator.multinomial(groups, np.full(groups, 1.0 / groups), size=REPLICATES).astype(np.float64)


def _replicates(counts: Counts, captions: NDArray[np.intp]) -> NDArray[np.float64] | None:
    """Captions are resampled, not images: the seeds of one caption stand and fall together.

    The best threshold is chosen anew in every replicate; the min-max normalisation of the maps stays.
    """
    names, group = np.unique(captions, return_inverse=True)
    if len(names) < 2 or not counts.truth.any():
        return None
    weights = resampled(len(names), np.random.default_rng(0))
    both, union = weights @ _summed(counts.both, group), weights @ _summed(counts.union, group)  # [R, T]
    best: NDArray[np.float64] = ratio(both, union).max(axis=1)
    return best


def _summed(values: NDArray[np.int64], group: NDArray[np.intp]) -> NDArray[np.float64]:
    totals = np.zeros((group.max() + 1, values.shape[1]))
    np.add.at(totals, group, values)
    return totals


def ratio(both: NDArray[np.number], union: NDArray[np.number]) -> NDArray[np.float64]:
    """Share of a union; an empty one is a perfect answer."""
    return np.where(union > 0, both / np.maximum(union, 1), 1.0)
