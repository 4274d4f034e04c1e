"""What of a sweep is flagged at a rate of false discoveries, in two passes over its results: to count, and to pick."""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from memscan.scanner.calibration.benjamini_hochberg import Discoveries, discoveries
from memscan.scanner.errors import UsageError
from memscan.scanner.results.reader import Results

Q_VALUE = "q_value"
_SLACK = 1e-9


@dataclasses.dataclass(frozen=True)
class Flagged:
    """What is flagged of the images at a step.

    `tested` images have p-values, `screened` ones were left out by their screening score and count as tested; `without`
    are good but have no p-value, `failed` have status error: neither counts. `clean` is the number of clean prompts.
    """

    results: Results
    step: int
    rate: float
    tested: int
    screened: int
    without: int
    failed: int
    found: Discoveries
    clean: int | None

    @property
    def hypotheses(self) -> int:
        return self.tested + self.screened

    @property
    def least_together(self) -> int | None:
        """How many images must have the smallest p-value that there can be for any of them to be flagged."""
        if self.clean is None:
            return None
        return max(1, math.ceil(self.hypotheses / ((self.clean + 1) * self.rate) - _SLACK))

    def rows(self) -> Iterator[pa.Table]:
        """The flagged rows with all their columns and `q_value`, part after part."""
        if self.found.threshold is None:
            return
        known = pa.array(list(self.found.q_values)), pa.array(list(self.found.q_values.values()))
        where = (ds.field("step_index") == self.step) & (ds.field("p_value") <= self.found.threshold)
        for part in self.results.parts(None, where):
            place = pc.index_in(part["p_value"], value_set=known[0])
            yield part.append_column(pa.field(Q_VALUE, pa.float64()), known[1].take(place.combine_chunks()))

    def lines(self) -> Iterator[str]:
        """What there is to say, a line each."""
        screened = f", {self.screened} of them screened" if self.screened else ""
        of = f"{self.hypotheses} images at step {self.step}{screened}"
        if self.found.threshold is None:
            yield f"nothing is flagged of {of} at a rate of false discoveries of {self.rate:g}"
        else:
            yield (
                f"{self.found.count} of {of} are flagged at a rate of false discoveries of {self.rate:g}: "
                f"p <= {self.found.threshold:.4g}"
            )
        for count, why in ((self.failed, "have status error"), (self.without, "have no p-value")):
            if count:
                yield f"{count} images {why}, and were not tested"
        if self.clean is not None and self.least_together is not None and self.least_together > 1:
            yield (
                f"with {self.clean} clean prompts no p-value is below {1 / (self.clean + 1):.2g}: fewer than "
                f"{self.least_together} images cannot be flagged among {self.hypotheses}; one alone needs "
                f"{math.ceil(self.hypotheses / self.rate - 1 - _SLACK)} clean prompts (memscan calibrate --clean)"
            )

    def to_json(self) -> bytes:
        said = {
            "step": self.step,
            "fdr": self.rate,
            "flagged": self.found.count,
            "p_threshold": self.found.threshold,
            "tested": self.tested,
            "screened": self.screened,
            "without_p_value": self.without,
            "failed": self.failed,
            "clean_prompts": self.clean,
            "least_together": self.least_together,
        }
        return json.dumps(said, indent=1).encode() + b"\n"


def flag(results: Results, rate: float, step: int | None = None) -> Flagged:
    """What is flagged at a step, by default the only one that has p-values.

    Raises:
        UsageError: there are no p-values, several steps have them and none is named, or a part is damaged.
    """
    counts: dict[int, Counter[float]] = {}
    fates: dict[int, Counter[str]] = {}
    columns = ["row", "seed", "step_index", "status", "p_value"]
    for part in results.parts(columns):
        groups = part.group_by(["step_index", "status", "p_value"], use_threads=False).aggregate([([], "count_all")])
        for index, status, p, count in zip(
            *(groups[name].to_pylist() for name in ("step_index", "status", "p_value", "count_all")), strict=True
        ):
            if p is not None:
                counts.setdefault(index, Counter())[p] += count
            fates.setdefault(index, Counter())["tested" if p is not None else status] += count
    chosen = _step(results, sorted(counts), sorted(fates), step)
    fate, tested = fates[chosen], counts[chosen]
    screened = fate["screened"]
    return Flagged(
        results=results,
        step=chosen,
        rate=rate,
        tested=fate["tested"],
        screened=screened,
        without=fate["ok"],
        failed=fate["error"],
        found=discoveries(tested, fate["tested"] + screened, rate),
        clean=results.clean_prompts,
    )


def _step(results: Results, tested: list[int], measured: list[int], asked: int | None) -> int:
    if asked is not None and asked not in measured:
        raise UsageError(f"--step {asked}: {results.path} has the steps {', '.join(map(str, measured)) or 'none'}")
    if not tested or (asked is not None and asked not in tested):
        raise UsageError(
            f"{results.path} has no p-values{'' if asked is None else f' at step {asked}'}: "
            "`memscan calibrate BUNDLE` first, then run with the calibrated settings"
        )
    if asked is None and len(tested) > 1:
        raise UsageError(f"several steps have p-values: choose one by --step: {', '.join(map(str, tested))}")
    return tested[0] if asked is None else asked
