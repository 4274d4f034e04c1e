"""Detection: does a score tell memorized images from the others? AUC and rates, with intervals over captions.

AUC = P(score of a memorized image > score of another) + 1/2 P(equal)        over all pairs (Mann-Whitney)
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.overlap import REPLICATES, Interval, percentile_interval, resampled
from memscan.scanner.evaluation.roc import LIMITS, Rate, Roc, below, curve, nearest, needed, resampled_below

_AT_ONCE = 1 << 22
"""Weights of images that are held at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class Detection:
    """AUC, rates and curve of a score. Intervals are None where fewer than two captions on a side can be resampled.

    `replicates` [R] are those of the AUC: for the same captions they are drawn alike, so that differences are paired.
    """

    auc: float
    interval: Interval | None
    rates: tuple[Rate, ...]
    roc: Roc
    replicates: NDArray[np.float64] | None = None


def detection(
    scores: NDArray[np.floating], memorized: NDArray[np.bool_], captions: NDArray[np.intp]
) -> Detection | None:
    """How `scores` [N] tell those `memorized` [N] from the rest; None where one side is empty.

    The bootstrap resamples captions, on both sides separately, so that no replicate lacks a side. The seeds of a
    caption stand and fall together.
    """
    if memorized.all() or not memorized.any():
        return None
    won, pairs = _contests(scores[memorized], captions[memorized], scores[~memorized], captions[~memorized])
    auc = float(won.sum() / pairs.sum())
    roc = curve(scores, memorized)
    draws = _draws(*won.shape) if min(won.shape) >= 2 else None
    replicates = None
    if draws is not None:
        positive, negative = draws
        replicates = ((positive @ won) * negative).sum(axis=1) / ((positive @ pairs) * negative).sum(axis=1)
    return Detection(
        auc=auc,
        interval=None if replicates is None else percentile_interval(replicates),
        rates=tuple(_rate(limit, scores, memorized, captions, auc, roc, draws) for limit in LIMITS),
        roc=roc,
        replicates=replicates,
    )


def rate_replicates(
    limit: float, scores: NDArray[np.floating], memorized: NDArray[np.bool_], captions: NDArray[np.intp]
) -> NDArray[np.float64] | None:
    """The rate by the rule `below` in each replicate, drawn as those of the AUC; None where there is nothing to draw.

    Raises:
        IndexError: one side is empty.
    """
    sides = len(np.unique(captions[memorized])), len(np.unique(captions[~memorized]))
    return None if min(sides) < 2 else _resampled(limit, scores, memorized, captions, _draws(*sides))


Draws = tuple[NDArray[np.float64], NDArray[np.float64]]
"""How often each memorized caption, and each other one, is drawn in each replicate: [R, P] and [R, Q]."""


def _draws(positives: int, negatives: int) -> Draws:
    generator = np.random.default_rng(0)
    return resampled(positives, generator), resampled(negatives, generator)


def _rate(
    limit: float,
    scores: NDArray[np.floating],
    memorized: NDArray[np.bool_],
    captions: NDArray[np.intp],
    auc: float,
    roc: Roc,
    draws: Draws | None,
) -> Rate:
    negatives = len(np.unique(captions[~memorized]))
    if negatives < needed(limit):
        return Rate(limit, negatives, needed(limit))
    interval = None
    if draws is not None:
        interval = percentile_interval(_resampled(limit, scores, memorized, captions, draws))
    low, high = (None, None) if interval is None else interval
    ours = below(roc, limit)
    flipped = ours if auc >= 0.5 else below(curve(scores, ~memorized), limit)
    return Rate(limit, negatives, needed(limit), ours, low, high, nearest(roc, limit), flipped)


def _resampled(
    limit: float,
    scores: NDArray[np.floating],
    memorized: NDArray[np.bool_],
    captions: NDArray[np.intp],
    draws: Draws,
) -> NDArray[np.float64]:
    positive, negative = draws
    of_positive = np.unique(captions[memorized], return_inverse=True)[1]
    of_negative = np.unique(captions[~memorized], return_inverse=True)[1]
    rows = max(1, _AT_ONCE // len(scores))
    found = []
    for start in range(0, REPLICATES, rows):
        weights = np.empty((len(positive[start : start + rows]), len(scores)))
        weights[:, memorized] = positive[start : start + rows, of_positive]
        weights[:, ~memorized] = negative[start : start + rows, of_negative]
        found.append(resampled_below(scores, memorized, weights, limit))
    return np.concatenate(found)


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
        won_by = np.searchsorted(others, positives, side="left")
        not_above = np.searchsorted(others, positives, side="right")
        np.add.at(won[:, j], row, (won_by + not_above) / 2)
        np.add.at(pairs[:, j], row, len(others))
    return won, pairs
