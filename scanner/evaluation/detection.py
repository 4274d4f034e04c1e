"""Detection: does a score tell memorized images from the others? AUC and rates, with intervals over captions.

AUC = P(score of a memorized image > score of another) + 1/2 P(equal)        over all pairs (Mann-Whitney)
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.overlap import REPLICATES, Interval, percentile_interval, resampled
from memscan.scanner.evaluation.roc import (
    LIMITS,
    Rate,
    Roc,
    below,
    curve,
    nearest,
    needed,
    resampled_auc,
    resampled_below,
)

_AT_ONCE = 1 << 22
"""Weights of images that are held at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class Replicates:
    """AUC, and the rate by the rule `below` at each of `LIMITS` that is supported, in each bootstrap replicate: [R].

    For the same captions they are drawn alike whatever the scores, so that differences are paired.
    """

    auc: NDArray[np.float64]
    rates: Mapping[float, NDArray[np.float64]]


@dataclasses.dataclass(frozen=True, eq=False)
class Detection:
    """AUC, rates and curve of a score. Intervals are None where fewer than two captions on a side can be resampled."""

    auc: float
    interval: Interval | None
    rates: tuple[Rate, ...]
    roc: Roc
    replicates: Replicates | None


def detection(
    scores: NDArray[np.floating], memorized: NDArray[np.bool_], captions: NDArray[np.intp]
) -> Detection | None:
    """How `scores` [N] tell those `memorized` [N] from the rest; None where one side is empty.

    The bootstrap resamples captions, on both sides separately, so that no replicate lacks a side. The seeds of a
    caption stand and fall together.
    """
    if memorized.all() or not memorized.any():
        return None
    order = np.argsort(-scores, kind="stable")
    scores, memorized, captions = scores[order], memorized[order], captions[order]
    auc = float(resampled_auc(scores, memorized, np.ones((1, len(scores))))[0])
    replicates = _replicates(scores, memorized, captions)
    roc = curve(scores, memorized)
    flipped = roc if auc >= 0.5 else curve(scores, ~memorized)
    negatives = len(np.unique(captions[~memorized]))
    rates = []
    for limit in LIMITS:
        rate = Rate(limit, negatives, needed(limit))
        if negatives >= rate.needed:
            low, high = (None, None) if replicates is None else percentile_interval(replicates.rates[limit])
            figures = below(roc, limit), low, high, nearest(roc, limit), below(flipped, limit)
            rate = Rate(limit, negatives, needed(limit), *figures)
        rates.append(rate)
    interval = None if replicates is None else percentile_interval(replicates.auc)
    return Detection(auc, interval, tuple(rates), roc, replicates)


def _replicates(
    scores: NDArray[np.floating], memorized: NDArray[np.bool_], captions: NDArray[np.intp]
) -> Replicates | None:
    """Of images in the order of falling scores."""
    positives, of_positive = np.unique(captions[memorized], return_inverse=True)
    negatives, of_negative = np.unique(captions[~memorized], return_inverse=True)
    if min(len(positives), len(negatives)) < 2:
        return None
    drawn, others = _draws(len(positives), len(negatives))
    rows = max(1, _AT_ONCE // len(scores))
    limits = [limit for limit in LIMITS if len(negatives) >= needed(limit)]
    found = []
    for start in range(0, REPLICATES, rows):
        here = slice(start, start + rows)
        weights = np.empty((len(drawn[here]), len(scores)))
        weights[:, memorized] = drawn[here, of_positive]
        weights[:, ~memorized] = others[here, of_negative]
        rates = [resampled_below(scores, memorized, weights, limit) for limit in limits]
        found.append([resampled_auc(scores, memorized, weights), *rates])
    auc, *of_limits = map(np.concatenate, zip(*found, strict=True))
    return Replicates(auc, dict(zip(limits, of_limits, strict=True)))


@functools.lru_cache(maxsize=1)
def _draws(positives: int, negatives: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often each memorized caption, and each other one, is drawn: [R, positives] and [R, negatives]."""
    generator = np.random.default_rng(0)
    return resampled(positives, generator), resampled(negatives, generator)
