"""Scores by bins: of a map's summary on its absolute scale, of other scores between the lowest and the highest.

The axis of a map's summary is that of all sheets (`sheet/scale.py`), so that a run in which nothing is memorized shows
so; what lies beyond an end is in the bin at this end.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import ArrayLike, NDArray

from memscan.scanner.evaluation.truth import GroundTruth
from memscan.scanner.report import flags
from memscan.scanner.report.survey import Survey
from memscan.scanner.results.reader import Results
from memscan.scanner.results.schema import SCORE_COLUMNS
from memscan.scanner.sheet.scale import share, ticks

BINS = 60

ALL, FLAGGED = "all images", "flagged"
CLEAN_PROMPTS = "clean prompts of the calibration"
CLEAN, MEMORIZED, UNKNOWN = "known not to be memorized", "known to be memorized", "nothing known"


@dataclasses.dataclass(frozen=True)
class Axis:
    """Where scores lie: places from 0 to 1. `metric` is the map whose summary the score is, if it is one."""

    metric: str | None
    low: float
    high: float

    def places(self, scores: ArrayLike) -> NDArray[np.float64]:
        """The place of each of `scores` [...]."""
        if self.metric is not None:
            return share(scores, self.metric)
        spread = (np.asarray(scores, np.float64) - self.low) / ((self.high - self.low) or 1.0)
        return np.clip(spread, 0.0, 1.0)

    def ticks(self) -> tuple[float, float, float]:
        """The scores at the ends and in the middle."""
        return ticks(self.metric) if self.metric is not None else (self.low, (self.low + self.high) / 2, self.high)


def axis(score_name: str, found: Survey, clean: NDArray[np.float32] | None = None) -> Axis:
    """The axis of the scores of a survey, and of the `clean` ones [N] beside them, ascending."""
    metric = SCORE_COLUMNS[score_name]
    ends = [] if clean is None else [float(clean[0]), float(clean[-1])]
    low, high = min([found.lowest, *ends]), max([found.highest, *ends])
    return Axis(metric.name if metric.kind == "map" else None, low, high)


def counts_of(scores: ArrayLike, across: Axis) -> NDArray[np.int64]:
    """How many of `scores` are in each bin, [BINS]."""
    return np.bincount(_bins(scores, across), minlength=BINS)


def _bins(scores: ArrayLike, across: Axis) -> NDArray[np.intp]:
    return np.minimum((across.places(scores) * BINS).astype(np.intp), BINS - 1)


def histogram(
    results: Results, found: Survey, truth: GroundTruth | None, across: Axis
) -> Mapping[str, NDArray[np.int64]]:
    """Counts [BINS] of the scores of a survey's step: of all and of those flagged, or by what ground truth says."""
    names = (ALL, FLAGGED) if truth is None else (UNKNOWN, CLEAN, MEMORIZED)
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    columns = ["step_index", "score", *flags.COLUMNS, *(("id", "prompt", "seed", "row") if truth else ())]
    for table in results.batches(columns, ds.field("step_index") == found.step):
        scored = table.filter(pc.and_(pc.is_valid(table["score"]), pc.equal(table["status"], "ok")))
        bins = _bins(scored["score"].to_numpy(), across)
        for name, chosen in _parts(scored, found.rate, truth):
            counts[name] += np.bincount(bins[chosen], minlength=BINS)
    return {name: counted for name, counted in counts.items() if counted.any()}


def _parts(scored: pa.Table, rate: float, truth: GroundTruth | None) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    if truth is None:
        yield ALL, np.ones(len(scored), np.bool_)
        yield FLAGGED, flags.flagged(scored, rate)
        return
    known = [truth.find(**row) for row in scored.select(["id", "prompt", "seed", "row"]).to_pylist()]
    names = np.array([_known(truth, indices) for indices in known], np.str_)
    yield from ((name, names == name) for name in (UNKNOWN, CLEAN, MEMORIZED))


def _known(truth: GroundTruth, indices: tuple[int, ...]) -> str:
    if not indices:
        return UNKNOWN
    return CLEAN if truth.truths[indices[0]].kind == "none" else MEMORIZED
