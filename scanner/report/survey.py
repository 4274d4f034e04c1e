"""What the rows of one measured step say together, gathered in one pass over them, in bounded memory.

With ground truth three numbers are kept of each image that it knows, for the ROC; of the others nothing is.
"""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.truth import GroundTruth
from memscan.scanner.report import flags
from memscan.scanner.report.errors_by_kind import ErrorKind, ErrorsByKind
from memscan.scanner.report.ranking import Ranking
from memscan.scanner.results.reader import Results
from memscan.scanner.samples import Key

_KEY = ("row", "seed", "step_index")
_SAME = ("timestep", "sigma", "model_id", "calibrated", "threshold", "derivative", "model_digest", "run_id")
"""What all rows of a step have in common."""

_COUNTED = ("error", "score", "truncated", "image_source", "scanned_at")


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Scores [M] of the images that ground truth knows, whether each is memorized [M], and its caption [M]."""

    scores: NDArray[np.float64]
    memorized: NDArray[np.bool_]
    captions: NDArray[np.intp]
    flagged: NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)
class Survey:
    """`steps` are all that were measured, by index their timestep; all else is of the step with the index `step`.

    `statuses` counts images by status. `common` has the values that all rows share, of an image that was scanned; it is
    empty if none was. `top` has (row, seed) of the highest scores, `lowest` and `highest` are the ends of all scores.
    `dates` are the first and last time of the rows, where the results say it.
    """

    steps: Mapping[int, int | None]
    step: int
    statuses: Mapping[str, int]
    sources: Mapping[str, int]
    truncated: int
    flagged: int
    masked: int
    p_values: int
    rate: float
    common: Mapping[str, Any]
    lowest: float
    highest: float
    top: list[Key]
    errors: list[ErrorKind]
    dates: tuple[Any, Any] | None
    labelled: Labelled | None

    @property
    def images(self) -> int:
        return sum(self.statuses.values())

    @property
    def scanned(self) -> int:
        return self.statuses.get("ok", 0)


def measured_steps(results: Results) -> dict[int, int | None]:
    """The measured steps in the order of sampling: index, and timestep, None where no image was scanned."""
    found: dict[int, int | None] = {}
    for table in results.batches(["status", "step_index", "timestep"]):
        distinct = table.group_by("step_index", use_threads=False).aggregate([("timestep", "max")])
        for index, timestep in zip(
            distinct["step_index"].to_pylist(), distinct["timestep_max"].to_pylist(), strict=True
        ):
            found[index] = found.get(index) if timestep is None else timestep
    return dict(sorted(found.items()))


def survey(results: Results, step: int | None, limit: int, rate: float, truth: GroundTruth | None = None) -> Survey:
    """Survey the images measured at a step, by default the last one.

    Args:
        limit: how many of the highest scores are wanted.
        rate: the false-positive rate at which p-values flag.

    Raises:
        UsageError: no such step, or a part is damaged.
    """
    steps = measured_steps(results)
    if step is None:
        step = max(steps)
    elif step not in steps:
        raise UsageError(f"step {step} was not measured: the results have {', '.join(map(str, steps))}")
    gathered = _Gathered(limit, rate, truth)
    columns = [*_KEY, *flags.COLUMNS, *_SAME, *_COUNTED, *(("id", "prompt") if truth else ())]
    for table in results.batches(columns, ds.field("step_index") == step):
        gathered.add(table)
    return gathered.survey(steps, step)


class _Gathered:
    def __init__(self, limit: int, rate: float, truth: GroundTruth | None) -> None:
        self._rate, self._truth = rate, truth
        self._statuses: collections.Counter[str] = collections.Counter()
        self._sources: collections.Counter[str] = collections.Counter()
        self._truncated = self._flagged = self._masked = self._p_values = 0
        self._common: dict[str, Any] = {}
        self._ends = (np.inf, -np.inf)
        self._ranking, self._errors = Ranking(limit), ErrorsByKind()
        self._dates: list[Any] = []
        self._known: list[tuple[float, bool, int, bool]] = []

    def add(self, table: pa.Table) -> None:
        self._statuses.update(table["status"].to_pylist())
        failed = table.filter(pc.equal(table["status"], "error"))
        self._errors.add(zip(failed["error"].to_pylist(), failed["row"].to_pylist(), strict=True))
        ok = table.filter(pc.equal(table["status"], "ok"))
        if "truncated" in ok.column_names:
            self._truncated += pc.sum(ok["truncated"]).as_py() or 0
        if "image_source" in ok.column_names:
            self._sources.update(pc.drop_null(ok["image_source"]).to_pylist())
        if "scanned_at" in table.column_names:
            found = pc.min_max(table["scanned_at"]).as_py().values()
            self._dates += [date for date in found if date is not None]
            self._dates = [min(self._dates), max(self._dates)] if self._dates else []
        scored = ok.filter(pc.is_valid(ok["score"]))
        if len(scored):
            self._add_scored(scored)

    def _add_scored(self, scored: pa.Table) -> None:
        if not self._common:
            first = scored.slice(0, 1).select([name for name in _SAME if name in scored.column_names])
            self._common = first.to_pylist()[0]
        flagged = flags.flagged(scored, self._rate)
        self._flagged += int(flagged.sum())
        self._masked += len(scored) - scored["mask_share"].null_count
        self._p_values += len(scored) - scored["p_value"].null_count if flags.has_p_values(scored) else 0
        self._ranking.add(scored)
        ends = pc.min_max(scored["score"]).as_py()
        self._ends = min(self._ends[0], ends["min"]), max(self._ends[1], ends["max"])
        if self._truth:
            self._label(scored, flagged, self._truth)

    def _label(self, scored: pa.Table, flagged: NDArray[np.bool_], truth: GroundTruth) -> None:
        rows = scored.select(["id", "prompt", "seed", "row"]).to_pylist()
        for row, score, flag in zip(rows, scored["score"].to_pylist(), flagged.tolist(), strict=True):
            found = truth.find(**row)
            if found:
                memorized = truth.truths[found[0]].kind != "none"
                self._known.append((score, memorized, truth.caption(found[0]), flag))

    def survey(self, steps: Mapping[int, int | None], step: int) -> Survey:
        scores, memorized, captions, flagged = zip(*self._known, strict=True) if self._known else ((), (), (), ())
        labelled = Labelled(
            np.array(scores, np.float64),
            np.array(memorized, np.bool_),
            np.array(captions, np.intp),
            np.array(flagged, np.bool_),
        )
        return Survey(
            steps=steps,
            step=step,
            statuses=dict(self._statuses),
            sources=dict(self._sources),
            truncated=self._truncated,
            flagged=self._flagged,
            masked=self._masked,
            p_values=self._p_values,
            rate=self._rate,
            common=self._common,
            lowest=float(self._ends[0]),
            highest=float(self._ends[1]),
            top=self._ranking.keys(),
            errors=self._errors.ranked(),
            dates=(self._dates[0], self._dates[1]) if self._dates else None,
            labelled=None if self._truth is None else labelled,
        )
