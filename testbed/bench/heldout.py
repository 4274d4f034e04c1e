"""Every detector judged on held-out captions, with baseline, timestep and threshold chosen on calibration captions.

Detection: copied in at least half of the seeds against never copying anything. Localization: of local captions that
are copied in at least half of the seeds, by the threshold that was best on those of the calibration. Intervals are
over captions, by bootstrap; beside them stands the figure of each training by itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.calibration.thresholds import best_threshold
from memscan.scanner.evaluation.detection import detection
from memscan.scanner.evaluation.overlap import percentile_interval, ratio, resampled
from testbed.bench.measured import Measured

Interval = tuple[float | None, float | None]
NOTHING: Interval = (None, None)


@dataclass(frozen=True)
class Variant:
    """Where a detector is measured: against which baseline (None: it uses none), at which timestep."""

    baseline: str | None
    timestep: int

    def __str__(self) -> str:
        return f"t = {self.timestep}" + (f", {self.baseline}" if self.baseline else "")


@dataclass(frozen=True)
class Judged:
    """One detector or localizer on held-out captions.

    `what` is auc, tpr (at 1% false positives) or iou. `calibration` is the figure that the choice was made by,
    `captions` how many held-out captions are positives, `trainings` the figure of each training alone.
    """

    what: str
    detector: str
    variant: str
    calibration: float
    captions: int
    value: float
    low: float | None
    high: float | None
    trainings: tuple[float, ...]


Variants = Mapping[Variant, Measured]
"""The same images, measured in several ways."""


def judged(variants: Variants) -> Iterator[Judged]:
    """Every score column and every map, at its best variant by the calibration captions."""
    columns = dict.fromkeys(name for images in variants.values() for name in images.scores)
    for name in columns:
        candidates = {
            v: auc(images, images.scores[name]) for v, images in calibration(variants) if name in images.scores
        }
        known = {variant: value for variant, value in candidates.items() if value is not None}
        if known:
            best = max(known, key=known.__getitem__)
            images = heldout(variants[best])
            yield from detections(images, images.scores[name], name, str(best), known[best])
    for name in dict.fromkeys(name for images in variants.values() for name in images.maps):
        thresholds = {
            v: best_threshold(copied.maps[name], copied.truth[name])
            for v, images in calibration(variants)
            if name in images.maps and len((copied := often_local(images)).local)
        }
        if thresholds:
            best = max(thresholds, key=lambda v: thresholds[v].iou)
            images = often_local(heldout(variants[best]))
            predicted = images.maps[name] >= thresholds[best].threshold
            yield localization(images, predicted, images.truth[name], name, str(best), thresholds[best].iou)


def calibration(variants: Variants) -> Iterator[tuple[Variant, Measured]]:
    """The calibration captions of every variant."""
    for variant, images in variants.items():
        yield variant, images.of(images.splits == "calibration")


def heldout(images: Measured) -> Measured:
    """The images of held-out captions."""
    return images.of(images.splits == "heldout")


def often_local(images: Measured) -> Measured:
    """The images of local captions that are copied in at least half of the seeds."""
    return images.of(images.positive & (images.kinds == "local"))


def auc(images: Measured, values: NDArray[np.floating]) -> float | None:
    """Of copied in at least half of the seeds against never copying; None where there is nothing to tell apart."""
    chosen = images.positive | images.negative
    found = detection(values[chosen], images.positive[chosen], images.captions[chosen])
    return None if found is None else found.auc


def detections(
    images: Measured, values: NDArray[np.floating], name: str, variant: str, before: float
) -> Iterator[Judged]:
    """AUC, and TPR at 1% false positives where there are negatives enough, of held-out images."""
    chosen = images.positive | images.negative
    found = detection(values[chosen], images.positive[chosen], images.captions[chosen])
    if found is None:
        return
    captions = len(np.unique(images.captions[images.positive]))
    alone = [(images.trainings == training) & chosen for training in np.unique(images.trainings)]
    parts = [detection(values[one], images.positive[one], images.captions[one]) for one in alone]
    each = [part for part in parts if part is not None]
    low, high = found.interval or NOTHING
    yield Judged("auc", name, variant, before, captions, found.auc, low, high, tuple(part.auc for part in each))
    rate = found.rates[0]
    if rate.below is not None:
        rates = tuple(part.rates[0].below for part in each if part.rates[0].below is not None)
        yield Judged("tpr", name, variant, before, captions, rate.below, rate.low, rate.high, rates)


def localization(
    images: Measured,
    predicted: NDArray[np.bool_],
    truth: NDArray[np.float64],
    name: str,
    variant: str,
    before: float,
) -> Judged:
    """IoU of masks [L, h, w] with the truth [L, h, w] of the local images of `images`."""
    both = (predicted * truth).sum(axis=(1, 2))
    union = (predicted + truth - predicted * truth).sum(axis=(1, 2))
    captions, trainings = images.captions[images.local], images.trainings[images.local]
    names, group = np.unique(captions, return_inverse=True)
    interval = NOTHING
    if len(names) > 1:
        weights = resampled(len(names), np.random.default_rng(0))
        interval = percentile_interval(ratio(weights @ np.bincount(group, both), weights @ np.bincount(group, union)))
    alone = [trainings == training for training in np.unique(trainings)]
    each = tuple(float(both[one].sum() / union[one].sum()) for one in alone)
    return Judged("iou", name, variant, before, len(names), float(both.sum() / union.sum()), *interval, each)
