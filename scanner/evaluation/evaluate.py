"""Evaluation of results against ground truth: localization by each map, detection by each score, at each step."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.evaluation.detection import Detection, detection
from memscan.scanner.evaluation.figures import DetectionRecord, Evaluation, Protocol, Record
from memscan.scanner.evaluation.labelled import LabelledStep, label
from memscan.scanner.evaluation.localize import Localization, Scale
from memscan.scanner.evaluation.overlap import Interval, Overlap, overlap
from memscan.scanner.evaluation.protocol import THRESHOLDS
from memscan.scanner.evaluation.score_columns import scores
from memscan.scanner.evaluation.truth import GroundTruth
from memscan.scanner.metrics.catalogue import SCORES
from memscan.scanner.results.reader import Results

Detections = dict[tuple[str, str], Detection]
"""By score and kind."""


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
    records: list[Record] = []
    detections: list[DetectionRecord] = []
    for step in steps:
        found = {(name, kind): one for name, kind, one in detect(results, step)}
        records += _localization(results, step, truth, found)
        detections += [_detected(step, *key, one) for key, one in found.items()]
    return Evaluation(tuple(records), (*truth.remarks, *notes), tuple(detections))


def detect(results: Results, step: LabelledStep) -> Iterator[tuple[str, str, Detection]]:
    """Score, kind and figures of every detection at a step; kinds are those that occur, and "all" of them."""
    for name, values in scores(results, step):
        for kind, _ in step.by_kind():
            chosen = of_kind(step, kind)
            found = detection(values[chosen], step.kinds[chosen] != "none", step.captions[chosen])
            if found is not None and kind != "none":
                yield name, kind, found


def of_kind(step: LabelledStep, kind: str) -> NDArray[np.intp]:
    """The images of a kind, or of all, and those of kind none, each once."""
    return np.flatnonzero(step.first & ((step.kinds == kind) | (step.kinds == "none") | (kind == "all")))


def _localization(results: Results, step: LabelledStep, truth: GroundTruth, detections: Detections) -> Iterator[Record]:
    for name in step.maps:
        found = Localization(results, step, truth, name)
        for kind, chosen in step.by_kind():
            detected, captions = detections.get((f"{name}_mean", kind)), step.captions[chosen]
            oracle, fixed = found.oracle(chosen), found.fixed(chosen)
            if oracle is not None:
                counts, scale = oracle
                agreement = overlap(counts, captions)
                yield _record(step, name, kind, "oracle", captions, agreement, detected, _thresholds(agreement, scale))
            if fixed is not None:
                values = {} if found.threshold is None else _same_value(found.threshold)
                yield _record(step, name, kind, "fixed", captions, overlap(fixed, captions), detected, values)
            if oracle is None and fixed is None:
                yield _record(step, name, kind, "fixed", captions, None, detected, {})
    for name in step.scores:
        for kind, chosen in step.by_kind():
            detected = detections.get((name, kind))
            if detected is not None:
                yield _record(step, name, kind, "fixed", step.captions[chosen], None, detected, {})


def _record(
    step: LabelledStep,
    name: str,
    kind: str,
    protocol: Protocol,
    captions: NDArray[np.intp],
    agreement: Overlap | None,
    found: Detection | None,
    thresholds: dict[str, float],
) -> Record:
    figures: dict[str, float] = {}
    if agreement is not None:
        figures |= {"iou": agreement.iou, "miou": agreement.miou, "accuracy": agreement.accuracy}
        figures |= _bounds("iou", agreement.iou_interval) | thresholds
    if found is not None:
        figures |= {"auc": found.auc} | _bounds("auc", found.interval)
    images, distinct = len(captions), len(np.unique(captions))
    return Record(name, step.index, step.timestep, kind, protocol, images, distinct, **figures)


def _thresholds(agreement: Overlap, scale: Scale) -> dict[str, float]:
    best = {"iou": agreement.best_iou, "miou": agreement.best_miou, "accuracy": agreement.best_accuracy}
    found = {f"{name}_threshold": float(THRESHOLDS[index]) for name, index in best.items()}
    return found | {f"{name}_value": scale.value(index) for name, index in best.items()}


def _same_value(threshold: float) -> dict[str, float]:
    return dict.fromkeys(("iou_value", "miou_value", "accuracy_value"), threshold)


def _detected(step: LabelledStep, name: str, kind: str, found: Detection) -> DetectionRecord:
    chosen = of_kind(step, kind)
    memorized, captions = step.kinds[chosen] != "none", step.captions[chosen]
    low, high = found.interval or (None, None)
    return DetectionRecord(
        score=name,
        step=step.index,
        timestep=step.timestep,
        kind=kind,
        positives=int(memorized.sum()),
        negatives=int((~memorized).sum()),
        positive_captions=len(np.unique(captions[memorized])),
        negative_captions=len(np.unique(captions[~memorized])),
        auc=found.auc,
        auc_low=low,
        auc_high=high,
        rates=found.rates,
        roc=found.roc,
    )


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
        yield "the ground truth has no masks: detection alone is evaluated"
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
