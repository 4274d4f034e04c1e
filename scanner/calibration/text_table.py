"""A calibration as its maker reads it: a line for each timestep, and what was chosen and why."""

import dataclasses
import json
from collections.abc import Iterable, Iterator

from memscan.scanner.calibration.order_statistics import Limit
from memscan.scanner.calibration.record import CalibrationRecord, MapLimit, ScreenLimit
from memscan.scanner.terminal import brief

_OUTSTANDING = 3


def table(record: CalibrationRecord) -> str:
    """The thresholds of the recommended map and score at every timestep, and the choice."""
    return "\n".join((*_levels(record), "", *_choice(record)))


def summary(record: CalibrationRecord) -> bytes:
    """The same as JSON: everything but the clean scores themselves."""
    said = dataclasses.asdict(record)
    for level in said["levels"]:
        level["scores"] = {name: of_score["limit"] for name, of_score in level["scores"].items()}
    return json.dumps(said, indent=1).encode() + b"\n"


def _levels(record: CalibrationRecord) -> Iterator[str]:
    chosen = record.recommended
    yield f"{'timestep':>8}  {chosen.mask_map + ' >=':28}{chosen.score_name + ' >=':28}{'power':>6}"
    for level in record.levels:
        of_map, of_score = level.maps[chosen.mask_map], level.scores[chosen.score_name]
        power = "" if of_map.power is None else f"{of_map.power:.2f}"
        mark = "  *" if level.timestep == chosen.timestep else ""
        limits = f"{_mask_limit(of_map):28}{_limit(of_score.limit.threshold, of_score.limit):28}"
        yield f"{level.timestep:>8}  {limits}{power:>6}{mark}"


def _mask_limit(of_map: MapLimit) -> str:
    if of_map.labelled is None:
        return _limit(of_map.threshold, of_map.limit)
    held_out = "-" if of_map.labelled.held_out is None else f"{of_map.labelled.held_out:.3f}"
    return f"{of_map.threshold:.4g}, IoU {of_map.labelled.chosen_on:.3f}, {held_out}"


def _limit(threshold: float, limit: Limit) -> str:
    low, high = ("open" if bound is None else f"{bound:.4g}" for bound in (limit.low, limit.high))
    return f"{threshold:.4g} [{low}, {high}]"


def _choice(record: CalibrationRecord) -> Iterator[str]:
    chosen, settings, clean = record.recommended, record.settings, record.clean
    level = record.level(chosen.timestep)
    assert level is not None
    of_score = level.scores[chosen.score_name].limit
    images = clean.prompts * clean.images_a_prompt
    yield (
        f"at a rate of false positives of {record.rate:g}, from {clean.prompts} clean prompts and {images} images; "
        f"intervals are of 95%, and the rate itself lies in [{of_score.rate_low:.2g}, {of_score.rate_high:.2g}]"
    )
    yield (
        f"settings: {settings.num_inference_steps} steps of {settings.sampler}, guidance {settings.guidance_scale:g}, "
        f"{settings.probes.count} {settings.probes.kind} probes, {settings.derivative} derivative"
    )
    yield f"chosen: timestep {chosen.timestep}, masks of {chosen.mask_map}, score {chosen.score_name}: {chosen.why}"
    yield f"the smallest p-value that there can be is {1 / (clean.prompts + 1):.2g}"
    yield _screen(record.screen)


def _screen(screen: ScreenLimit | None) -> str:
    if screen is None:
        return "no screening (memscan run --screen): the clean prompts are too few for --screen-rate"
    over = "the first guided step" if screen.steps == 1 else f"the first {screen.steps} guided steps"
    reached = _limit(screen.limit.threshold, screen.limit)
    said = f"screening (memscan run --screen): {screen.score} over {over} >= {reached}"
    said += f", which a share of {screen.rate:g} of clean images reaches"
    known = screen.labelled
    if known is None:
        return said
    return f"{said}, and {known.passed} of {known.images} memorized ones: recall [{known.low:.3f}, {known.high:.3f}]"


def outstanding(prompts: Iterable[str], scores: Iterable[float]) -> str:
    """The clean prompts with the highest scores, as a line: they may be memorized themselves."""
    highest = sorted(zip(scores, prompts, strict=True), reverse=True)[:_OUTSTANDING]
    said = "; ".join(f"{score:.3g} {brief(repr(prompt), 60)}" for score, prompt in highest)
    return f"highest clean scores (look at these images: what is memorized among clean prompts hides the rest): {said}"
