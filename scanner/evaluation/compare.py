"""Two results against one ground truth, on the images that both have: every figure's difference, by a paired bootstrap.

Both are resampled alike, over captions, so that what captions have in common falls out of the difference.
"""

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.detection import Replicates
from memscan.scanner.evaluation.evaluate import detect
from memscan.scanner.evaluation.figures import Difference, Protocol
from memscan.scanner.evaluation.labelled import LabelledStep, label
from memscan.scanner.evaluation.localize import Localization
from memscan.scanner.evaluation.overlap import Overlap, overlap, percentile_interval
from memscan.scanner.evaluation.truth import GroundTruth
from memscan.scanner.results.reader import Results


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Differences, and one line for each thing that was left out, and why."""

    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """An object of `differences`, whose keys are the fields of `Difference`, and `notes`."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False) + "\n"


def compare(first: Results, second: Results, truth: GroundTruth, split: str | None = None) -> Comparison:
    """Every figure that both results have. Steps are paired by their timestep, or where each has one alone.

    Raises:
        UsageError: nothing can be scored in one of them, or they have no step or no image in common.
    """
    for results in (first, second):
        if results.is_empty:
            raise UsageError(f"nothing to compare in {results.path}: its manifest had no rows")
    (steps, notes), (others, other_notes) = label(first, truth, split), label(second, truth, split)
    pairs = _pairs(steps, others)
    if not pairs:
        levels = [", ".join(str(step.timestep) for step in each) for each in (steps, others)]
        raise UsageError(
            f"{first.path} was measured at timestep {levels[0]}, {second.path} at {levels[1]}: none is shared"
        )
    differences: list[Difference] = []
    said = [
        *truth.remarks,
        *(f"{first.path}: {note}" for note in notes),
        *(f"{second.path}: {one}" for one in other_notes),
    ]
    for step, other in pairs:
        one, two = _shared(step, other)
        if not len(one.truths):
            raise UsageError(f"{first.path} and {second.path} have no image of one prompt and seed in common")
        left = len(step.truths) - len(one.truths), len(other.truths) - len(two.truths)
        if any(left):
            said.append(
                f"timestep {step.timestep}: {left[0]} images of the first and {left[1]} of the second stand alone"
            )
        differences += _detection(first, second, one, two)
        differences += _localization(first, second, one, two, truth)
    unpaired = len(steps) + len(others) - 2 * len(pairs)
    if unpaired:
        said.append(f"{unpaired} measured steps have no counterpart in the other results")
    return Comparison(tuple(differences), tuple(said))


def _pairs(steps: list[LabelledStep], others: list[LabelledStep]) -> list[tuple[LabelledStep, LabelledStep]]:
    if len(steps) == len(others) == 1:
        return [(steps[0], others[0])]
    by_timestep = {other.timestep: other for other in others}
    return [(step, by_timestep[step.timestep]) for step in steps if step.timestep in by_timestep]


def _shared(step: LabelledStep, other: LabelledStep) -> tuple[LabelledStep, LabelledStep]:
    """Both steps with the images of one truth and seed, in one order; rows that repeat them count once."""
    places = [_places(one) for one in (step, other)]
    keys = [key for key in places[0] if key in places[1]]
    first, second = (np.array([each[key] for key in keys], dtype=np.intp) for each in places)
    return step.take(first), other.take(second)


def _places(step: LabelledStep) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for place, key in enumerate(zip(step.truths.tolist(), step.table["seed"].to_pylist(), strict=True)):
        found.setdefault(key, place)
    return found


def _detection(first: Results, second: Results, one: LabelledStep, two: LabelledStep) -> Iterator[Difference]:
    ours = {(name, kind): found for name, kind, found in detect(first, one)}
    theirs = {(name, kind): found for name, kind, found in detect(second, two)}
    for name, kind in ours:
        if (name, kind) not in theirs:
            continue
        a, b = ours[name, kind], theirs[name, kind]
        of_auc = _replicated(a.replicates, b.replicates, None)
        yield _difference(f"AUC {name}", kind, None, one, two, a.auc, b.auc, of_auc)
        for rate, other in zip(a.rates, b.rates, strict=True):
            if rate.below is not None and other.below is not None:
                replicates = _replicated(a.replicates, b.replicates, rate.limit)
                figure = f"TPR {100 * rate.limit:g}% {name}"
                yield _difference(figure, kind, None, one, two, rate.below, other.below, replicates)


def _localization(
    first: Results, second: Results, one: LabelledStep, two: LabelledStep, truth: GroundTruth
) -> Iterator[Difference]:
    for name in one.maps:
        if name not in two.maps:
            continue
        ours, theirs = Localization(first, one, truth, name), Localization(second, two, truth, name)
        for kind, chosen in one.by_kind():
            for protocol, a, b in _overlaps(ours, theirs, chosen, one.captions[chosen]):
                replicates = None
                if a.replicates is not None and b.replicates is not None:
                    replicates = b.replicates - a.replicates
                yield _difference(f"IoU {name}", kind, protocol, one, two, a.iou, b.iou, replicates)


def _overlaps(
    ours: Localization, theirs: Localization, chosen: NDArray[np.intp], captions: NDArray[np.intp]
) -> Iterator[tuple[Protocol, Overlap, Overlap]]:
    oracle = ours.oracle(chosen), theirs.oracle(chosen)
    if oracle[0] is not None and oracle[1] is not None:
        yield "oracle", overlap(oracle[0][0], captions), overlap(oracle[1][0], captions)
    fixed = ours.fixed(chosen), theirs.fixed(chosen)
    if fixed[0] is not None and fixed[1] is not None:
        yield "fixed", overlap(fixed[0], captions), overlap(fixed[1], captions)


def _replicated(a: Replicates | None, b: Replicates | None, limit: float | None) -> NDArray[np.float64] | None:
    if a is None or b is None:
        return None
    return b.auc - a.auc if limit is None else b.rates[limit] - a.rates[limit]


def _difference(
    figure: str,
    kind: str,
    protocol: Protocol | None,
    one: LabelledStep,
    two: LabelledStep,
    first: float,
    second: float,
    replicates: NDArray[np.float64] | None,
) -> Difference:
    low, high = (None, None) if replicates is None else percentile_interval(replicates)
    counted = (one.kinds == kind) | (kind == "all") | ((one.kinds == "none") if protocol is None else False)
    return Difference(
        figure=figure,
        kind=kind,
        protocol=protocol,
        timesteps=(one.timestep, two.timestep),
        images=int(counted.sum()),
        captions=len(np.unique(one.captions[counted])),
        first=first,
        second=second,
        difference=second - first,
        low=low,
        high=high,
    )
