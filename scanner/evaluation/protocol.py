"""From maps to pixel counts, by the two protocols of `memscan eval`; every figure follows from the counts.

oracle   the paper's: maps in the paper's unit, bilinear to 256 x 256, log1p, min-max over the whole set being scored
         (all pixels of all its images), then 101 thresholds from 0 to 1. The best one is chosen on the very images
         that are scored, hence the name.
fixed    what memscan delivers: the map at latent resolution, in the collapse unit, against one threshold known
         beforehand; the mask is enlarged to 256 x 256 by nearest neighbour.

Truth masks are enlarged to 256 x 256 by nearest neighbour in both.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.resize import bilinear, nearest
from memscan.scanner.metrics.catalogue import METRICS

SIZE = 256
THRESHOLDS = np.linspace(0.0, 1.0, 101)

_NEXT_THRESHOLDS = np.append(THRESHOLDS[1:], np.inf)


@dataclasses.dataclass(frozen=True)
class Counts:
    """Pixel counts of N predicted masks at T thresholds, out of `pixels` in each image.

    both: predicted and true, int64 [N, T]; predicted: int64 [N, T]; truth: int64 [N].
    """

    both: NDArray[np.int64]
    predicted: NDArray[np.int64]
    truth: NDArray[np.int64]
    pixels: int = SIZE * SIZE

    @property
    def union(self) -> NDArray[np.int64]:
        """Pixels in prediction or truth, [N, T]."""
        return self.predicted + self.truth[:, None] - self.both

    @property
    def correct(self) -> NDArray[np.int64]:
        """Pixels on which prediction and truth agree, [N, T]."""
        return self.pixels - self.union + self.both

    def of(self, chosen: NDArray[np.intp]) -> "Counts":
        """The counts of the images at these indices."""
        return Counts(self.both[chosen], self.predicted[chosen], self.truth[chosen], self.pixels)


def paper_unit(name: str, channel_mean: NDArray[np.floating], channels: int, sigma: float) -> NDArray[np.float64]:
    """A map [h, w] in the paper's unit, by the metric's own `unit`, from the channel mean in the collapse unit."""
    unit = METRICS[name].unit
    if unit is None:
        raise ValueError(f"{name} is no map: it has no unit of the oracle protocol")
    return unit(channel_mean, channels, sigma)


def extremes(maps: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Minimum and maximum of each of N maps [h, w] after resizing and log1p: [N, 2]."""
    prepared = (_prepared(one) for one in maps)
    return np.array([(image.min(), image.max()) for image in prepared])


def oracle_counts(
    maps: Iterable[NDArray[np.float64]], truths: Sequence[NDArray[np.bool_]], low: float, high: float
) -> Counts:
    """Counts at the 101 thresholds of the oracle protocol.

    Only one map at a time exists at 256 x 256. Each of its pixels is put into the bin of the highest threshold that it
    reaches; cumulated from above, the bins are the counts at all thresholds.

    Args:
        maps: N maps [h, w] in the paper's unit.
        truths: N masks [H, W], each of its own size.
        low: smallest value of `extremes` over the set being scored.
        high: greatest. A set without any contrast (low = high) is 0 everywhere: predicted at threshold 0 alone.
    """
    bins = len(THRESHOLDS)
    both = np.zeros((len(truths), bins), dtype=np.int64)
    predicted = np.zeros((len(truths), bins), dtype=np.int64)
    area = np.zeros(len(truths), dtype=np.int64)
    span = high - low if high > low else 1.0
    for index, (one, truth) in enumerate(zip(maps, truths, strict=True)):
        reached = _highest_reached((_prepared(one) - low) / span)
        inside = reached[nearest(truth, SIZE)]
        predicted[index] = np.bincount(reached.ravel(), minlength=bins)
        both[index] = np.bincount(inside, minlength=bins)
        area[index] = inside.size
    return Counts(_from_above(both), _from_above(predicted), area)


def fixed_counts(masks: Iterable[NDArray[np.bool_]], truths: Sequence[NDArray[np.bool_]]) -> Counts:
    """Counts (T = 1) of N predicted masks [h, w] against N truth masks [H, W]."""
    both = np.zeros((len(truths), 1), dtype=np.int64)
    predicted = np.zeros((len(truths), 1), dtype=np.int64)
    area = np.zeros(len(truths), dtype=np.int64)
    for index, (mask, truth) in enumerate(zip(masks, truths, strict=True)):
        enlarged = nearest(mask, SIZE)
        inside = enlarged[nearest(truth, SIZE)]
        predicted[index] = np.count_nonzero(enlarged)
        both[index] = np.count_nonzero(inside)
        area[index] = inside.size
    return Counts(both, predicted, area)


def _prepared(one: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log1p(bilinear(one, SIZE))


def _highest_reached(values: NDArray[np.float64]) -> NDArray[np.int16]:
    """Index of the highest of THRESHOLDS that is <= value: floor(100 value), mended where 100 value was rounded."""
    index = (values * (len(THRESHOLDS) - 1)).astype(np.int16)
    index -= THRESHOLDS.take(index) > values
    index += _NEXT_THRESHOLDS.take(index) <= values
    return index


def _from_above(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return counts[:, ::-1].cumsum(axis=1)[:, ::-1]
