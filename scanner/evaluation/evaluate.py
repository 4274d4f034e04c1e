"""Evaluation of results against ground truth: one `Record` for each metric, step, kind of memorization and protocol."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.detection import Detection, detection
from memscan.scanner.evaluation.ground_truth import GroundTruth
from memscan.scanner.evaluation.labelled import LabelledStep, label
from memscan.scanner.evaluation.overlap import Interval, Overlap, overlap
from memscan.scanner.evaluation.protocol import Counts, extremes, fixed_counts, oracle_counts, paper_unit
from memscan.scanner.metrics.catalogue import SCORES
from memscan.scanner.results.masks import mask_of
from memscan.scanner.results.reader import Results
from memscan.scanner.results.schema import SCORE_COLUMNS

Protocol = Literal["oracle", "fixed"]


@dataclasses.dataclass(frozen=True)
class Record:
    """The figures of one metric (`map`) at one step on the images of one kind: global, local, none, or all of them.

    `iou`, `miou` and `accuracy` are None for a score that is no map, and where a protocol lacks what it needs: only
    detection is scored then. `auc` tells the memorized images of the kind (of "all": global and local) from those of
    kind none by the mean of the map, the same in both protocols, or by the score, its sign turned where low values mean
    memorized; None where one side is missing. `*_low` and `*_high` bound 95% intervals, bootstrapped over captions.
    """

    map: str
    step: int
    timestep: int
    kind: str
    protocol: Protocol
    images: int
    captions: int
    iou: float | None = None
    iou_low: float | None = None
    iou_high: float | None = None
    miou: float | None = None
    accuracy: float | None = None
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All records, and `notes`: one line for each thing that was left out, and why."""

    records: tuple[Record, ...]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """The records as a JSON list of objects whose keys are the fields of `Record`."""
        return json.dumps([dataclasses.asdict(record) for record in self.records], indent=1) + "\n"


def evaluate(results: Results, truth: GroundTruth, split: str | None = None) -> Evaluation:
    """Score every metric and step in `results` against `truth`, or against that part of it whose split is `split`.

    The oracle protocol normalises each kind over the images of that kind alone, as the paper does with its subsets. Of
    results without rows there are no records.

    Raises:
        UsageError: nothing can be scored: no such split, or no image of the results has ground truth.
    """
    if results.is_empty:
        return Evaluation((), (f"nothing to evaluate in {results.path}: its manifest had no rows",))
    steps, notes = label(results, truth, split)
    notes += _lacking(results, truth, steps)
    return Evaluation(tuple(record for step in steps for record in _of_step(results, step, truth)), tuple(notes))


def _of_step(results: Results, step: LabelledStep, truth: GroundTruth) -> Iterator[Record]:
    masks = (truth.truths[index].mask for index in step.truths)
    truths = [mask for mask in masks if mask is not None]
    for name in step.maps:
        maps = results.maps(name, step.index, step.keys) if results.has_maps and truth.has_masks else None
        oracle = None if maps is None else _OracleCounts(name, maps, results.latent_channels, step, truths)
        delivered = _delivered(results, step, name, maps) if truth.has_masks else None
        fixed = None if delivered is None else fixed_counts(delivered, truths)
        for kind, chosen in step.by_kind():
            found = _detection(step, f"{name}_mean", kind)
            captions = step.truths[chosen]
            if oracle is not None:
                yield _record(step, name, kind, "oracle", captions, overlap(oracle.of(chosen), captions), found)
            if fixed is not None:
                yield _record(step, name, kind, "fixed", captions, overlap(fixed.of(chosen), captions), found)
            if oracle is None and fixed is None:
                yield _record(step, name, kind, "fixed", captions, None, found)
    for name in step.scores:
        for kind, chosen in step.by_kind():
            found = _detection(step, name, kind)
            if found is not None:
                yield _record(step, name, kind, "fixed", step.truths[chosen], None, found)


class _OracleCounts:
    """Counts of subsets of a step's images, each subset normalised by its own extremes."""

    def __init__(
        self,
        name: str,
        maps: NDArray[np.float16],
        channels: int,
        step: LabelledStep,
        truths: Sequence[NDArray[np.bool_]],
    ) -> None:
        self._name, self._maps, self._channels, self._sigma, self._truths = name, maps, channels, step.sigma, truths
        self._extremes = extremes(self._converted(np.arange(len(maps))))

    def of(self, chosen: NDArray[np.intp]) -> Counts:
        low, high = self._extremes[chosen, 0].min(), self._extremes[chosen, 1].max()
        return oracle_counts(self._converted(chosen), [self._truths[index] for index in chosen], low, high)

    def _converted(self, chosen: NDArray[np.intp]) -> Iterator[NDArray[np.float64]]:
        return (paper_unit(self._name, self._maps[index], self._channels, self._sigma) for index in chosen)


def _delivered(
    results: Results, step: LabelledStep, name: str, maps: NDArray[np.float16] | None
) -> Iterable[NDArray[np.bool_]] | None:
    """The masks that memscan makes of a map: the stored ones, or the maps at their calibrated threshold."""
    if name == results.mask_map:
        return None if step.table["mask"].null_count else results.masks(step.table)
    threshold = results.thresholds.get((name, step.timestep))
    if maps is None or threshold is None:
        return None
    return (mask_of(one, threshold) for one in maps)


def _detection(step: LabelledStep, column: str, kind: str) -> Detection | None:
    if kind == "none":
        return None
    chosen = np.flatnonzero((step.kinds == kind) | (step.kinds == "none") | (kind == "all"))
    scores = SCORE_COLUMNS[column].sign * step.table[column].to_numpy()[chosen]
    return detection(scores, step.kinds[chosen] != "none", step.truths[chosen])


def _record(
    step: LabelledStep,
    name: str,
    kind: str,
    protocol: Protocol,
    captions: NDArray[np.intp],
    agreement: Overlap | None,
    found: Detection | None,
) -> Record:
    figures: dict[str, float] = {}
    if agreement is not None:
        figures |= {"iou": agreement.iou, "miou": agreement.miou, "accuracy": agreement.accuracy}
        figures |= _bounds("iou", agreement.iou_interval)
    if found is not None:
        figures |= {"auc": found.auc} | _bounds("auc", found.interval)
    images, distinct = len(captions), len(np.unique(captions))
    return Record(name, step.index, step.timestep, kind, protocol, images, distinct, **figures)


def _bounds(name: str, interval: Interval | None) -> dict[str, float]:
    return {} if interval is None else {f"{name}_low": interval[0], f"{name}_high": interval[1]}


def _lacking(results: Results, truth: GroundTruth, steps: Sequence[LabelledStep]) -> Iterator[str]:
    unmasked = [str(step.index) for step in steps if step.table["mask"].null_count]
    if unmasked and truth.has_masks:
        yield (
            f"no threshold, hence no mask and no fixed protocol, of {results.mask_map} at step {', '.join(unmasked)}:"
            " nothing was calibrated at the settings of the run, and no --threshold was given"
        )
    guessed = [
        str(step.index) for step in steps if str(step.index) not in unmasked and not step.table["calibrated"][0].as_py()
    ]
    if guessed and truth.has_masks:
        yield f"the masks of step {', '.join(guessed)} were made at a threshold that is not calibrated"
    for name in SCORES:
        lacking = [str(step.index) for step in steps if 0 < step.table[name].null_count < len(step.table)]
        if lacking:
            yield f"not all images have {name} at step {', '.join(lacking)}: it is not scored there"
    if not truth.has_masks:
        yield "the ground truth has no column mask: detection alone is evaluated"
        return
    if not results.has_maps:
        yield (
            f"no maps in {results.path}: the oracle protocol needs them, and so does the fixed one but for"
            f" {results.mask_map}; scan again with `memscan run --maps`"
        )
        return
    without: dict[str, list[str]] = {}
    for step in steps:
        known = {results.mask_map, *(name for name, timestep in results.thresholds if timestep == step.timestep)}
        unknown = ", ".join(name for name in step.maps if name not in known)
        without.setdefault(unknown, []).append(str(step.index))
    without.pop("", None)
    if without:
        where = "; ".join(f"of {names} at step {', '.join(indices)}" for names, indices in without.items())
        yield f"no calibrated threshold, hence no fixed protocol, {where}"
