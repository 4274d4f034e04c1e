"""The receiver operating characteristic of a score, and the true-positive rate at a limit of false positives.

A threshold that a score takes is one point: the share of images that reach it, of those that are memorized (TPR) and of
the others (FPR). Papers read "TPR at 1% FPR" off the points by three rules, which differ where the points are few:

    below     the last point whose FPR is under the limit (Carlini et al., 2022; Wen et al., 2024)
    nearest   the first of the points whose FPR is nearest to the limit: it may lie above it
    flipped   below, after the labels are exchanged if the AUC is under 1/2: a detector that is wrong is taken as right

None of them means anything where a single false positive is more than the limit: see `Rate`.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

LIMITS = (0.01, 0.001)


@dataclasses.dataclass(frozen=True, eq=False)
class Roc:
    """Points of the curve, from (0, 0) to (1, 1), by falling threshold: each [T]. The first threshold is infinite."""

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    def corners(self) -> "Roc":
        """The same curve without the points that lie between two others on one horizontal or vertical line."""
        level = np.diff(self.fpr) == 0, np.diff(self.tpr) == 0
        between = (level[0][:-1] & level[0][1:]) | (level[1][:-1] & level[1][1:])
        kept = np.concatenate(([True], ~between, [True]))
        return Roc(self.fpr[kept], self.tpr[kept], self.thresholds[kept])


@dataclasses.dataclass(frozen=True)
class Rate:
    """The true-positive rate where false positives are limited to the share `limit`, by the three rules.

    All of them are None, which is said instead of a number, where the `captions` that are not memorized are fewer than
    `needed`: then one false positive among them is already more than the limit. `low` and `high` bound the 95% interval
    of `below`, bootstrapped over captions; None where too few captions are left to resample.
    """

    limit: float
    captions: int
    needed: int
    below: float | None = None
    low: float | None = None
    high: float | None = None
    nearest: float | None = None
    flipped: float | None = None


def curve(scores: NDArray[np.floating], memorized: NDArray[np.bool_]) -> Roc:
    """The curve of scores [N], of which `memorized` [N] and others both occur. Equal scores are one point."""
    order = np.argsort(-scores, kind="stable")
    falling, positive = scores[order], memorized[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)  # of each group of equal scores
    hits = np.cumsum(positive)[last]
    alarms = last + 1 - hits
    return Roc(
        np.concatenate(([0.0], alarms / (~memorized).sum())),
        np.concatenate(([0.0], hits / memorized.sum())),
        np.concatenate(([math.inf], falling[last].astype(np.float64))),
    )


def needed(limit: float) -> int:
    """How many images that are not memorized a limit takes: with fewer, one false positive exceeds it."""
    return math.ceil(1 / limit)


def below(roc: Roc, limit: float) -> float:
    """TPR at the last point whose FPR is under `limit`."""
    return float(roc.tpr[np.flatnonzero(roc.fpr < limit)[-1]])


def nearest(roc: Roc, limit: float) -> float:
    """TPR at the first of the points whose FPR is nearest to `limit`."""
    return float(roc.tpr[np.argmin(np.abs(roc.fpr - limit))])


def resampled_auc(
    falling: NDArray[np.floating], memorized: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """P(memorized > other) + 1/2 P(equal) over all pairs, in R replicates where image n occurs `weights` [R, N] times.

    Args:
        falling: scores [N], the highest first.

    Returns:
        [R].
    """
    others = -falling[~memorized]
    hits = np.cumsum(weights[:, memorized], axis=1)
    hits = np.concatenate((np.zeros((len(hits), 1)), hits), axis=1)  # of the n highest: [R, P + 1]
    higher = np.searchsorted(-falling[memorized], others, side="left")
    not_lower = np.searchsorted(-falling[memorized], others, side="right")
    negative = weights[:, ~memorized]
    won = np.einsum("rq,rq->r", negative, hits[:, higher]) + np.einsum("rq,rq->r", negative, hits[:, not_lower])
    share: NDArray[np.float64] = won / 2 / (negative.sum(axis=1) * hits[:, -1])
    return share


def resampled_below(
    falling: NDArray[np.floating],
    memorized: NDArray[np.bool_],
    weights: NDArray[np.float64],
    limit: float,
) -> NDArray[np.float64]:
    """`below` of R replicates in which image n occurs `weights` [R, N] times: [R]. Scores fall, as above."""
    alarms = np.cumsum(weights[:, ~memorized], axis=1)
    # The first of the others with which the limit is reached is where the next point would be: what exceeds it counts.
    first = np.argmax(alarms / alarms[:, -1:] >= limit, axis=1)
    exceeding = np.searchsorted(-falling[memorized], -falling[~memorized][first], side="left")
    hits = np.cumsum(weights[:, memorized], axis=1)
    hits = np.concatenate((np.zeros((len(hits), 1)), hits), axis=1)
    reached: NDArray[np.float64] = hits[np.arange(len(hits)), exceeding] / hits[:, -1]
    return reached
