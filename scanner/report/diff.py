"""What two runs say of the same images: newly flagged, no longer flagged, and how far scores moved.

Of each image of the older run a digest, a score and two truth values are held, some 40 bytes; the newer one is read in
a stream, and so is what is written of either.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.report import flags
from memscan.scanner.report.by import By
from memscan.scanner.report.keys import Digests, Index, digests
from memscan.scanner.report.survey import measured_steps
from memscan.scanner.results.reader import Results
from memscan.scanner.terminal import brief

NEW, GONE, STILL, NEITHER = "newly flagged", "no longer flagged", "still flagged", "not flagged"
ADDED, ADDED_FLAGGED, LEFT_OUT, FAILED = "only in NEW", "only in NEW, flagged", "only in OLD", "not scanned in both"
CHANGES = (NEW, GONE, STILL, NEITHER, ADDED_FLAGGED, ADDED, LEFT_OUT, FAILED)

SCHEMA = pa.schema(
    [
        *(("change", pa.string()), ("seed", pa.int64()), ("id", pa.string()), ("prompt", pa.string())),
        *(("old_row", pa.int64()), ("new_row", pa.int64()), ("old_score", pa.float32()), ("new_score", pa.float32())),
    ]
)
"""Of what is written of each image; a row or score is null where a run does not have it."""

_COLUMNS = ("row", "seed", "step_index", "id", "prompt", "score", *flags.COLUMNS)
_UNIMPORTANT = ("carry", "save_maps", "save_images", "stream")
_LONGEST_PROMPT = 200

Written = Callable[[pa.Table], object]


@dataclasses.dataclass(frozen=True)
class Change:
    """An image whose flag is another than before."""

    change: str
    seed: int
    id: str | None
    prompt: str
    old_score: float | None
    new_score: float | None


@dataclasses.dataclass(frozen=True)
class Diff:
    """`counts` has images by their change, one of `CHANGES`; `examples` the most telling of each of the changes.

    `shift` has the mean of new minus old scores, their median and the 5% and 95% quantiles, over images that were
    scanned in both; None if there are none. `settings` name those in which the runs differ.
    """

    counts: dict[str, int]
    shift: dict[str, float] | None
    examples: tuple[Change, ...]
    steps: tuple[int, int]
    settings: tuple[str, ...]

    @property
    def newly(self) -> int:
        """Images that are flagged now, and were not or not there before."""
        return self.counts[NEW] + self.counts[ADDED_FLAGGED]


def diff(
    old: Results,
    new: Results,
    *,
    by: By = "prompt",
    step: int | None = None,
    rate: float,
    examples: int = 20,
    write: Written | None = None,
) -> Diff:
    """Compare two runs at a step that both have measured, by default the last such.

    Args:
        by: an image of one run is that of the other with the same seed and the same of this.
        rate: the false-positive rate at which p-values flag.
        examples: how many images of each change are kept.
        write: is given tables of `SCHEMA`, of all images.

    Raises:
        UsageError: no step in common, images that cannot be told apart, or a part is damaged.
    """
    step = _common_step(old, new, step)
    index, scores, flagged, ok = _indexed(old, by, step, rate)
    matched = np.zeros(len(scores), np.bool_)
    counts: collections.Counter[str] = collections.Counter()
    shifts: list[NDArray[np.float32]] = []
    kept = _Examples(examples)
    for table, keys in _read(new, by, step):
        place = index.find(keys)
        there = place >= 0
        if matched[place[there]].any() or len(np.unique(place[there])) < there.sum():
            raise _repeated(new, by)
        matched[place[there]] = True
        now_ok = np.asarray(pc.equal(table["status"], "ok").to_numpy())
        both = there & now_ok & ok[place]
        change = _changes(there, both, flags.flagged(table, rate), flagged[place])
        counts.update(change.tolist())
        before = np.where(there, scores[place], np.nan).astype(np.float32)
        shifts.append(table["score"].to_numpy()[both].astype(np.float32) - before[both])
        compared = _compared(table, change, before, None, "new")
        kept.add(compared)
        if write:
            write(compared)
    counts[LEFT_OUT] = int((~matched).sum())
    if write and counts[LEFT_OUT]:
        for table, keys in _read(old, by, step):
            left = table.filter(pa.array(~matched[index.find(keys)]))
            if len(left):
                write(_compared(left, np.full(len(left), LEFT_OUT), left["score"], left["row"], "old"))
    differing = _differing(old, new)
    found = {name: counts.get(name, 0) for name in CHANGES}
    return Diff(found, _summary(shifts), kept.best(), (step, step), differing)


def _common_step(old: Results, new: Results, step: int | None) -> int:
    steps = measured_steps(old).keys() & measured_steps(new).keys()
    if step is None and steps:
        return max(steps)
    if step is None or step not in steps:
        asked = "no step" if step is None else f"step {step} not"
        raise UsageError(
            f"{asked} measured by both {old.path} and {new.path}: scores of different steps do not compare"
        )
    return step


def _read(results: Results, by: By, step: int) -> Iterator[tuple[pa.Table, Digests]]:
    """Rows and their digests; what failed for want of what it would be known by is left out."""
    for table in results.batches(_COLUMNS, ds.field("step_index") == step):
        known = table.filter(pc.or_(pc.is_valid(table[by]), pc.equal(table["status"], "ok")))
        if len(known):
            yield known, digests(known, by)


def _indexed(
    old: Results, by: By, step: int, rate: float
) -> tuple[Index, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """The images of a run, with score, flag and whether they were scanned; one more, of no image, is at the end."""
    keys, scores, flagged, ok = [], [], [], []
    for table, of_table in _read(old, by, step):
        keys.append(of_table)
        scores.append(table["score"].to_numpy().astype(np.float32))
        flagged.append(flags.flagged(table, rate))
        ok.append(np.asarray(pc.equal(table["status"], "ok").to_numpy()))
    index = Index(np.concatenate(keys))
    if index.repeated:
        raise _repeated(old, by)
    return index, np.concatenate(scores), np.concatenate(flagged), np.concatenate(ok)


def _repeated(results: Results, by: By) -> UsageError:
    return UsageError(f"{results.path} has several images of one {by} and seed: choose another --by")


def _changes(
    there: NDArray[np.bool_], both: NDArray[np.bool_], now: NDArray[np.bool_], before: NDArray[np.bool_]
) -> NDArray[np.str_]:
    conditions = [~there & now, ~there, ~both, now & ~before, before & ~now, now]
    return np.select(conditions, [ADDED_FLAGGED, ADDED, FAILED, NEW, GONE, STILL], NEITHER)


def _compared(table: pa.Table, change: NDArray[np.str_], before: Any, old_row: Any, side: str) -> pa.Table:
    """Rows of `SCHEMA`; `side` says whose `table` is: what the other run has of it alone is `before`."""
    nulls = pa.nulls(len(table), pa.float32())
    old_score = pa.array(before, pa.float32(), from_pandas=True) if side == "new" else before
    columns = {
        "change": pa.array(change.tolist(), pa.string()),
        **{name: table[name] for name in ("seed", "id", "prompt")},
        "old_row": pa.nulls(len(table), pa.int64()) if old_row is None else old_row,
        "new_row": table["row"] if side == "new" else pa.nulls(len(table), pa.int64()),
        "old_score": old_score,
        "new_score": table["score"] if side == "new" else nulls,
    }
    return pa.table(columns).cast(SCHEMA)


def _summary(shifts: list[NDArray[np.float32]]) -> dict[str, float] | None:
    joined = np.concatenate(shifts) if shifts else np.empty(0, np.float32)
    if not len(joined):
        return None
    low, median, high = np.quantile(joined.astype(np.float64), (0.05, 0.5, 0.95))
    mean = float(joined.mean(dtype=np.float64))
    return {"mean": mean, "median": float(median), "q05": float(low), "q95": float(high)}


def _differing(old: Results, new: Results) -> tuple[str, ...]:
    ours, theirs = old.origin.settings, new.origin.settings
    names = sorted(ours.keys() & theirs.keys())  # an earlier version lacks some
    return tuple(name for name in names if name not in _UNIMPORTANT and ours.get(name) != theirs.get(name))


class _Examples:
    """The images with the highest score, new or old, of each change of a flag."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[str, list[tuple[float, Change]]] = {name: [] for name in (NEW, ADDED_FLAGGED, GONE)}

    def add(self, compared: pa.Table) -> None:
        for name, kept in self._kept.items():
            for row in compared.filter(pc.equal(compared["change"], name)).to_pylist():
                scores = [row[score] for score in ("new_score", "old_score") if row[score] is not None]
                del row["old_row"], row["new_row"]
                row["prompt"] = brief(row["prompt"], _LONGEST_PROMPT)
                kept.append((max(scores), Change(**row)))
            kept.sort(key=lambda one: -one[0])
            del kept[self._limit :]

    def best(self) -> tuple[Change, ...]:
        return tuple(change for kept in self._kept.values() for _, change in kept)
