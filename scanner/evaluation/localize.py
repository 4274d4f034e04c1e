"""Localization at one step: the overlap of each map with the true masks, by both protocols."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.labelled import LabelledStep
from memscan.scanner.evaluation.protocol import THRESHOLDS, Counts, extremes, fixed_counts, oracle_counts, paper_unit
from memscan.scanner.evaluation.score_columns import step_maps
from memscan.scanner.evaluation.truth import GroundTruth
from memscan.scanner.results.masks import mask_of
from memscan.scanner.results.reader import Results


class Localization:
    """The counts of one map on those images of a step whose region is known."""

    def __init__(self, results: Results, step: LabelledStep, truth: GroundTruth, name: str) -> None:
        self._masks = [truth.truths[index].mask for index in step.truths]
        self.known = np.array([mask is not None for mask in self._masks])
        self._oracle: _OracleCounts | None = None
        self._fixed: Counts | None = None
        self.threshold: float | None = None
        if not self.known.any():
            return
        known = np.flatnonzero(self.known)
        truths = [mask for mask in self._masks if mask is not None]
        self._place = np.cumsum(self.known) - 1
        maps = step_maps(results, step, name)[known] if results.has_maps and name in step.maps else None
        if maps is not None:
            self._oracle = _OracleCounts(name, maps, results.latent_channels, step.sigma, truths)
        self.threshold = _threshold(results, step, name)
        delivered = _delivered(results, step, name, maps, known)
        if delivered is not None:
            self._fixed = fixed_counts(delivered, truths)

    def oracle(self, chosen: NDArray[np.intp]) -> "tuple[Counts, Scale] | None":
        """Counts at all thresholds on the images `chosen`, normalised over them alone, and what the thresholds are."""
        if self._oracle is None or not self.known[chosen].all():
            return None
        return self._oracle.of(self._place[chosen])

    def fixed(self, chosen: NDArray[np.intp]) -> Counts | None:
        """Counts of the delivered masks of the images `chosen`; None where a mask or a region is not known."""
        return None if self._fixed is None or not self.known[chosen].all() else self._fixed.of(self._place[chosen])


class Scale:
    """What a threshold of the oracle protocol is as a value of the map, for the set over which it was normalised."""

    def __init__(self, name: str, channels: int, sigma: float, low: float, high: float) -> None:
        self._one = float(paper_unit(name, np.ones((1, 1)), channels, sigma)[0, 0])
        self._low, self._span = low, high - low

    def value(self, index: int) -> float:
        """The value of the map, its channels' mean, at the threshold `index`."""
        return float(np.expm1(self._low + THRESHOLDS[index] * self._span)) / self._one


class _OracleCounts:
    """Counts of subsets of images, each subset normalised by its own extremes."""

    def __init__(
        self,
        name: str,
        maps: NDArray[np.float16],
        channels: int,
        sigma: float,
        truths: Sequence[NDArray[np.bool_]],
    ) -> None:
        self._name, self._maps, self._channels, self._sigma, self._truths = name, maps, channels, sigma, truths
        self._extremes = extremes(self._converted(np.arange(len(maps))))

    def of(self, chosen: NDArray[np.intp]) -> tuple[Counts, Scale]:
        low, high = self._extremes[chosen, 0].min(), self._extremes[chosen, 1].max()
        counts = oracle_counts(self._converted(chosen), [self._truths[index] for index in chosen], low, high)
        return counts, Scale(self._name, self._channels, self._sigma, float(low), float(high))

    def _converted(self, chosen: NDArray[np.intp]) -> Iterator[NDArray[np.float64]]:
        return (paper_unit(self._name, self._maps[index], self._channels, self._sigma) for index in chosen)


def _threshold(results: Results, step: LabelledStep, name: str) -> float | None:
    if name != results.mask_map:
        return results.thresholds.get((name, step.timestep))
    values = set(step.table["threshold"].to_pylist())
    return values.pop() if len(values) == 1 else None


def _delivered(
    results: Results,
    step: LabelledStep,
    name: str,
    maps: NDArray[np.float16] | None,
    known: NDArray[np.intp],
) -> Iterable[NDArray[np.bool_]] | None:
    """The masks that memscan makes of a map: the stored ones, or the maps at their calibrated threshold."""
    if name == results.mask_map:
        return None if step.table["mask"].null_count else results.masks(step.table.take(known))
    threshold = results.thresholds.get((name, step.timestep))
    if maps is None or threshold is None:
        return None
    return (mask_of(one, threshold) for one in maps)
