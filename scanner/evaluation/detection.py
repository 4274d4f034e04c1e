"""Detection: does a score tell memorized images from the others? The area under the ROC curve, with an interval.

AUC = P(score of a memorized image > score of another) + 1/2 P(equal)        over all pairs (Mann-Whitney)
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.overlap import Interval, percentile_interval, resampled


@dataclasses.dataclass(frozen=True)
class Detection:
    """AUC and its interval, None where fewer than two captions on a side leave nothing to resample."""

    auc: float
    interval: Interval | None


def detection(
    scores: NDArray[np.floating], memorized: NDArray[np.bool_], captions: NDArray[np.intp]
) -> Detection | None:
    """AUC of `scores` [N] for `memorized` [N] against the rest; None where one side is empty.

    The bootstrap resamples captions, on both sides separately, so that no replicate lacks a side. The seeds of a
    caption stand and fall together.
    """
    if memorized.all() or not memorized.any():
        return None
    won, pairs = _contests(scores[memorized], captions[memorized], scores[~memorized], captions[~memorized])
    auc = float(won.sum() / pairs.sum())
    if min(won.shape) < 2:
        return Detection(auc, None)
    generator = np.random.default_rng(0)
    positive, negative = resampled(won.shape[0], generator), resampled(won.shape[1], generator)
    replicates = ((positive @ won) * negative).sum(axis=1) / ((positive @ pairs) * negative).sum(axis=1)
    return Detection(auc, percentile_interval(replicates))


def _contests(
    positives: NDArray[np.floating],
    positive_captions: NDArray[np.intp],
    negatives: NDArray[np.floating],
    negative_captions: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pairs won (a tie counts 1/2) and pairs, for each memorized caption and each other one: [P, Q] both."""
    rows, row = np.unique(positive_captions, return_inverse=True)
    columns = np.unique(negative_captions)
    won, pairs = np.zeros((2, len(rows), len(columns)))
    for j, column in enumerate(columns):
        others = np.sort(negatives[negative_captions == column])
        below = np.searchsorted(others, positives, side="left")
        not_above = np.searchsorted(others, positives, side="right")
        np.add.at(won[:, j], row, (below + not_above) / 2)
        np.add.at(pairs[:, j], row, len(others))
    return won, pairs
