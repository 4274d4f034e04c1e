"""What prompts with known regions choose: timestep, map, derivative, number of probes, score, and where masks begin.

Chosen on one half of the captions, told of the other half: kinds of memorization are halved alike, and the images of a
caption stay together. The IoU of a mask of latent cells against the truth is counted by the share of each cell that is
truly memorized, see `calibration/thresholds.py`.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.calibrating.scans import Scans
from memscan.scanner.calibration.record import Overlap
from memscan.scanner.calibration.thresholds import best_threshold
from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.labelled import LabelledStep, label
from memscan.scanner.evaluation.protocol import SIZE
from memscan.scanner.evaluation.resize import nearest
from memscan.scanner.evaluation.roc import resampled_auc
from memscan.scanner.evaluation.score_columns import step_maps
from memscan.scanner.evaluation.truth import KINDS, GroundTruth
from memscan.scanner.input.manifest import Manifest
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.probes import counts, default_probes
from memscan.scanner.results.reader import Results
from memscan.scanner.results.schema import SCORE_COLUMNS, SHARE
from memscan.scanner.run.request import Request
from memscan.scanner.settings import DERIVATIVES, Derivative

TOLERANCE = 0.01
"""IoU that is given up for a cheaper derivative, or fewer probes, or the map that the bundle makes masks of."""


@dataclasses.dataclass(frozen=True)
class MaskChoice:
    """Where the mask of a map begins at a timestep, and the IoU that it reaches."""

    name: str
    timestep: int
    threshold: float
    overlap: Overlap


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen; `request` has derivative, number of probes, map and score, `masks` all maps and timesteps."""

    request: Request
    mask: MaskChoice
    masks: tuple[MaskChoice, ...]
    why: str


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Prompts of which it is known what is memorized, and where."""

    manifest: Manifest
    truth: GroundTruth

    def choose(self, scans: Scans, request: Request) -> Choice:
        """Scan the prompts: at all of the request's timesteps first, then by every kind and number at the best one.

        What the request says already is not chosen.

        Raises:
            UsageError: no region is known, none of memorized prompts in a half, or as `label` and `Scans.scan`.
        """
        if not any(one.mask is not None and one.mask.any() for one in self.truth.truths):
            raise UsageError("--ground-truth: no region is known of any prompt, so that there is no IoU to choose by")
        name, settings = "labelled", request
        results, steps = self._steps(scans, name, settings)
        usual = request.mask_map or scans.bundle.defaults.mask_map
        asked = [one for one in self._masks(results, steps) if request.mask_map in (None, one.name)]
        best = _best(asked, usual)
        cheapest = self._cheapest(scans, dataclasses.replace(request, timesteps=(best.timestep,)), best)
        chosen = dataclasses.replace(request, derivative=cheapest.derivative, num_probes=cheapest.count)
        if chosen != request:
            results, steps = self._steps(scans, f"labelled-{cheapest.name}", chosen)
        masks = self._masks(results, steps)
        mask = next(one for one in masks if (one.name, one.timestep) == (best.name, best.timestep))
        step = next(step for step in steps if step.timestep == mask.timestep)
        score, auc = _best_score(step, mask.name, request.score_name)
        held_out = "" if mask.overlap.held_out is None else f", {mask.overlap.held_out:.3f} on the half held out"
        why = (
            f"best of the labelled captions, and cheapest within {TOLERANCE:g} of it: IoU {mask.overlap.chosen_on:.3f} "
            f"on the half that chose{held_out}" + ("" if auc is None else f"; AUC {auc:.3f}")
        )
        return Choice(dataclasses.replace(chosen, mask_map=mask.name, score_name=score), mask, masks, why)

    def _steps(self, scans: Scans, name: str, request: Request) -> tuple[Results, list[LabelledStep]]:
        results, _ = scans.scan(name, self.manifest, dataclasses.replace(request, save_maps=True))
        return results, label(results, self.truth, None)[0]

    def _masks(self, results: Results, steps: Sequence[LabelledStep]) -> tuple[MaskChoice, ...]:
        return tuple(self._mask(results, step, name) for step in steps for name in step.maps)

    def _mask(self, results: Results, step: LabelledStep, name: str) -> MaskChoice:
        known = np.flatnonzero([self.truth.truths[index].mask is not None for index in step.truths])
        maps = step_maps(results, step, name)[known]
        cover = np.stack([_cover(self.truth.truths[index].mask, maps.shape[1:]) for index in step.truths[known]])
        chooses = halves(step.captions, step.kinds)[known]
        if not cover[chooses].any():
            raise UsageError("--labelled: of the half that chooses nothing is memorized: more captions are needed")
        best = best_threshold(maps[chooses], cover[chooses])
        held_out = _iou(maps[~chooses], cover[~chooses], best.threshold) if cover[~chooses].any() else None
        return MaskChoice(name, step.timestep, best.threshold, Overlap(best.iou, held_out))

    def _cheapest(self, scans: Scans, request: Request, best: MaskChoice) -> "_Candidate":
        """The cheapest derivative and number of probes by which the best map is nearly as good as by any other."""
        candidates = list(_candidates(scans, request, best.name))
        if len(candidates) == 1:
            return candidates[0]
        request = dataclasses.replace(request, mask_map=best.name, metrics=(best.name,))
        found = []
        for one in candidates:
            settings = dataclasses.replace(request, derivative=one.derivative, num_probes=one.count)
            found_by = self._masks(*self._steps(scans, f"labelled-{best.timestep}-{one.name}", settings))
            (iou,) = (mask.overlap.chosen_on for mask in found_by if mask.name == best.name)
            scans.note(f"IoU {iou:.3f} of {best.name} at timestep {best.timestep}, {one.passes:.1f} passes a condition")
            found.append((iou, one))
        enough = max(iou for iou, _ in found) - TOLERANCE
        return min((one for iou, one in found if iou >= enough), key=lambda one: one.passes)


def halves(captions: NDArray[np.intp], kinds: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Which of N images choose: those of every other caption of each kind."""
    chooses = np.zeros(len(captions), np.bool_)
    for kind in KINDS:
        of_kind = np.unique(captions[kinds == kind])
        chooses |= (kinds == kind) & np.isin(captions, of_kind[::2])
    return chooses


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A kind of derivative and a number of probes, None where the map needs neither, and forward passes a diagonal."""

    derivative: Derivative | None
    count: int | None
    passes: float

    @property
    def name(self) -> str:
        return f"{self.derivative}-{self.count}"


def _candidates(scans: Scans, request: Request, name: str) -> Iterator[_Candidate]:
    bundle = scans.bundle
    if all(ask.quantity != "diagonal" for ask in METRICS[name].asks):
        yield _Candidate(request.derivative, request.num_probes, 0.0)
        return
    derivatives: Sequence[Derivative] = [request.derivative] if request.derivative else bundle.derivatives
    for derivative, count in itertools.product(derivatives, _numbers_of_probes(bundle, request)):
        calls = math.ceil((count or 1) / bundle.tangents_per_call)
        yield _Candidate(derivative, count, calls * bundle.passes[derivative] + 1e-3 * DERIVATIVES.index(derivative))


def _numbers_of_probes(bundle: Bundle, request: Request) -> Sequence[int | None]:
    """What is asked for, else all that are worth trying: of at most two calls, and one number at least."""
    channels = bundle.latent_shape[0]
    kind = request.probe_kind or (bundle.defaults.probes or default_probes(channels)).kind
    if request.num_probes or kind == "rademacher":
        return [request.num_probes]
    known = counts(kind, channels)
    return [count for count in known if count <= max(2 * bundle.tangents_per_call, known[0])]


def _best(masks: Sequence[MaskChoice], usual: str) -> MaskChoice:
    """The best by IoU; of those nearly as good, one of the usual map."""
    enough = max(one.overlap.chosen_on for one in masks) - TOLERANCE
    good = [one for one in masks if one.overlap.chosen_on >= enough]
    return max([one for one in good if one.name == usual] or good, key=lambda one: one.overlap.chosen_on)


def _cover(mask: NDArray[np.bool_] | None, shape: Sequence[int]) -> NDArray[np.float64]:
    """The share [h, w] of every latent cell that lies in a mask of any size."""
    assert mask is not None
    height, width = shape
    side = math.lcm(height, width)
    side *= -(-SIZE // side)
    return nearest(mask, side).reshape(height, side // height, width, side // width).mean(axis=(1, 3))


def _iou(maps: NDArray[np.floating], cover: NDArray[np.float64], threshold: float) -> float:
    predicted = maps.astype(np.float32) >= np.float32(threshold)
    both = cover[predicted].sum()
    return float(both / (cover.sum() + np.count_nonzero(predicted) - both))


def _best_score(step: LabelledStep, mask_map: str, asked: str | None) -> tuple[str, float | None]:
    """The column that tells memorized images best, the first of equals, and its AUC on the half that chooses."""
    chooses = halves(step.captions, step.kinds) & step.first
    memorized = step.kinds[chooses] != "none"
    names = [asked] if asked else list(dict.fromkeys((f"{mask_map}_q99", *SCORE_COLUMNS)))
    if memorized.all() or not memorized.any():
        return names[0], None
    table = step.table.filter(pa.array(chooses))
    found = {
        name: _auc(SCORE_COLUMNS[name].sign * table[name].to_numpy().astype(np.float64), memorized)
        for name in names
        if not table[name].null_count and not name.endswith(f"_{SHARE}")
    }
    best = max(found, key=lambda name: found[name])
    return best, found[best]


def _auc(scores: NDArray[np.float64], memorized: NDArray[np.bool_]) -> float:
    order = np.argsort(-scores, kind="stable")
    return float(resampled_auc(scores[order], memorized[order], np.ones((1, len(scores))))[0])
