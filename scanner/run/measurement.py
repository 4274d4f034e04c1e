"""From what the user asked for, and what the bundle recommends, to the exact `Measurement` of a run.

A threshold given is used as it is. Otherwise it is the bundle's calibration at *exactly* these settings, or else there
is none and hence no mask: thresholds do not carry over between models, noise levels, guidance, probes or derivatives.
"""

import dataclasses
import math
import shlex
from typing import TypeVar

from memscan.scanner.bundle import Bundle
from memscan.scanner.bundle_parts import Calibration
from memscan.scanner.calibration.record import Calibrated
from memscan.scanner.errors import UsageError
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.probes import default_probes, make_probes
from memscan.scanner.run.choice import FREE_MAP, choose
from memscan.scanner.run.derivative import choose_derivative
from memscan.scanner.run.request import Request
from memscan.scanner.samples import MeasuredStep
from memscan.scanner.sampling.samplers import (
    DEFAULT_STEPS,
    moves,
    sampler_steps,
    sampler_timesteps,
)
from memscan.scanner.sampling.schedule import is_pure_noise
from memscan.scanner.settings import Measurement, Move, Probes, Reference, Sampler, Screen, Step

_THRESHOLDS = (-1.0, 2.0)
"""Where a threshold can lie: in the collapse unit, 0 and 1 and what estimates of them scatter about."""

T = TypeVar("T")


def build_measurement(
    bundle: Bundle,
    request: Request,
    references: tuple[Reference, ...] = (),
    calibration: Calibrated | None = None,
) -> tuple[Measurement, tuple[str, ...]]:
    """The measurement to make, and notes on what the user should know about it, one line each.

    Args:
        bundle: as its calibration would have it, if there is one (`Calibrated.bundle`).
        references: those that there are of this model and guidance; one that lacks a step of the sampler is not used.
        calibration: whose score is the default, and whose digest is noted down.

    Raises:
        UsageError: a step, metric, number of probes or value that this bundle does not have.
    """
    defaults = bundle.defaults
    sampler = _first(request.sampler, defaults.sampler)
    usual_steps = defaults.num_inference_steps if sampler == defaults.sampler else DEFAULT_STEPS[sampler]
    num_inference_steps = _first(request.num_inference_steps, usual_steps)
    steps, moved, notes = _steps(bundle, sampler, num_inference_steps, request)
    usual = defaults.probes or default_probes(bundle.latent_shape[0])
    probes = Probes(
        kind=_first(request.probe_kind, usual.kind),
        count=_first(request.num_probes, usual.count),
        seed=_first(request.probe_seed, usual.seed),
    )
    make_probes(probes, bundle.latent_shape)
    guidance_scale = _first(request.guidance_scale, defaults.guidance_scale)
    if not math.isfinite(guidance_scale):
        raise UsageError(f"--guidance {guidance_scale}: expected a finite number")
    _check_threshold(request.threshold)
    derivative = choose_derivative(bundle, request.derivative)
    _check_smooth(request.smooth, bundle)
    mask_map = _first(request.mask_map, FREE_MAP if request.metrics == ("free",) else defaults.mask_map)
    score_name = request.score_name
    if score_name is None and calibration is not None and mask_map == calibration.record.recommended.mask_map:
        score_name = calibration.record.recommended.score_name
    timesteps = sampler_timesteps(bundle.schedule, sampler, num_inference_steps, moved)
    needed = timesteps[: steps[-1]]
    known = {reference.metric: reference for reference in references if {*needed} <= {*reference.timesteps}}
    pure_noise = is_pure_noise(bundle.schedule, timesteps[0])
    chosen = choose(bundle, request.metrics, mask_map, score_name, steps, derivative, known, pure_noise)
    measurement = Measurement(
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        steps=tuple(Step(index, request.threshold, False) for index in steps),
        probes=probes,
        metrics=chosen.metrics,
        mask_map=chosen.mask_map,
        score_name=chosen.score_name,
        stream=request.stream,
        save_maps=request.save_maps,
        save_images=request.save_images,
        carry=request.carry,
        sampler=sampler,
        moved=moved,
        fit=request.fit,
        derivative=derivative,
        calibration=None if calibration is None else calibration.digest,
        smooth=request.smooth,
        references=tuple(known[name] for name in chosen.metrics if METRICS[name].needs_reference),
    )
    if request.threshold is None:
        measurement = _calibrated(bundle, measurement, notes)
    if request.screen:
        measurement = dataclasses.replace(measurement, screen=_screen(bundle, measurement, calibration))
    return measurement, tuple(notes)


def matching_calibrations(bundle: Bundle, measurement: Measurement) -> list[Calibration]:
    """The bundle's calibrated thresholds, of any map, at exactly the settings and timesteps of a measurement.

    A threshold holds where no other step than its own was moved.
    """
    timesteps = _timesteps(bundle, measurement)
    measured = {timesteps[step.index] for step in measurement.steps}
    return [
        calibration
        for calibration in bundle.calibrations
        if calibration.timestep in measured
        and all(timestep == calibration.timestep for _, timestep in measurement.moved)
        and calibration.sampler == measurement.sampler
        and calibration.num_inference_steps == measurement.num_inference_steps
        and calibration.guidance_scale == measurement.guidance_scale
        and calibration.probes == measurement.probes
        and calibration.derivative == measurement.derivative
        and calibration.smooth == measurement.smooth
    ]


def measured_steps(bundle: Bundle, measurement: Measurement) -> tuple[MeasuredStep, ...]:
    """The measured steps with their noise levels and thresholds, in order."""
    timesteps = _timesteps(bundle, measurement)
    taken = sampler_steps(bundle.schedule, measurement.sampler, measurement.num_inference_steps, measurement.moved)
    calibrations = matching_calibrations(bundle, measurement)
    return tuple(
        MeasuredStep(
            step.index,
            timesteps[step.index],
            taken[step.index].level.sigma,
            step.threshold,
            step.calibrated,
            measurement.derivative,
            {one.map: one.threshold for one in calibrations if one.timestep == timesteps[step.index]},
        )
        for step in measurement.steps
    )


def telling_step(bundle: Bundle, measurement: Measurement) -> int:
    """Index of the step to look at: the measured one nearest to the model's first default timestep."""
    timesteps, wanted = _timesteps(bundle, measurement), bundle.defaults.timesteps[0]
    return min((step.index for step in measurement.steps), key=lambda index: abs(timesteps[index] - wanted))


def _check_threshold(threshold: float | None) -> None:
    low, high = _THRESHOLDS
    if threshold is not None and not low <= threshold <= high:
        raise UsageError(
            f"--threshold {threshold}: expected {low:g} to {high:g}, in the collapse unit, where 1 is a full collapse"
        )


def _screen(bundle: Bundle, measurement: Measurement, calibration: Calibrated | None) -> Screen:
    found = None if calibration is None else calibration.screen(measurement)
    if found is None:
        raise UsageError(
            f"--screen: no screening is calibrated for {measurement.num_inference_steps} steps of "
            f"{measurement.sampler} at guidance {measurement.guidance_scale:g}: "
            f"`memscan calibrate {shlex.quote(str(bundle.path))}` with these settings makes one, or leave --screen out"
        )
    return found


def _check_smooth(smooth: int, bundle: Bundle) -> None:
    height, width = bundle.latent_shape[1:]
    if smooth < 1 or smooth % 2 == 0 or smooth > min(height, width):
        raise UsageError(f"--smooth {smooth}: expected an odd number of cells, 1 to those of a map, {height} x {width}")


def _first(asked: T | None, default: T) -> T:
    return default if asked is None else asked


def _timesteps(bundle: Bundle, measurement: Measurement) -> tuple[int, ...]:
    return sampler_timesteps(bundle.schedule, measurement.sampler, measurement.num_inference_steps, measurement.moved)


def _steps(
    bundle: Bundle, sampler: Sampler, num_inference_steps: int, request: Request
) -> tuple[tuple[int, ...], tuple[Move, ...], list[str]]:
    """Indices of the steps to measure, ascending, those of them that move, and notes."""
    timesteps = sampler_timesteps(bundle.schedule, sampler, num_inference_steps)
    for step in request.steps:
        if not 0 <= step < len(timesteps):
            raise UsageError(
                f"--step {step}: {len(timesteps)} inference steps have the indices 0 to {len(timesteps) - 1}"
            )
    asked = bool(request.steps or request.timesteps)
    wanted = request.timesteps if asked else bundle.defaults.timesteps
    moved: tuple[Move, ...] = ()
    notes: list[str] = []
    if sampler != "ddim":
        moved = moves(timesteps, wanted, bundle.schedule)
        timesteps = sampler_timesteps(bundle.schedule, sampler, num_inference_steps, moved)
    elif asked:
        _check_own(timesteps, wanted)
    else:
        wanted, notes = _nearest(timesteps, wanted)
    steps = {*request.steps, *(timesteps.index(timestep) for timestep in wanted)}
    for step in steps:
        _check_signal(bundle, timesteps[step])
    return tuple(sorted(steps)), moved, notes


def _check_signal(bundle: Bundle, timestep: int) -> None:
    if is_pure_noise(bundle.schedule, timestep):
        raise UsageError(f"timestep {timestep} is pure noise, whose curvature says nothing of an image: choose another")


def _check_own(timesteps: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    for timestep in wanted:
        if timestep not in timesteps:
            near = sorted(sorted(timesteps, key=lambda other: abs(other - timestep))[:4], reverse=True)
            raise UsageError(
                f"--timestep {timestep} is none of the sampler's {len(timesteps)}; near it are "
                + ", ".join(map(str, near))
            )


def _nearest(timesteps: tuple[int, ...], defaults: tuple[int, ...]) -> tuple[tuple[int, ...], list[str]]:
    """The sampler's own timesteps nearest to the default ones, and a note where they differ."""
    nearest = {default: min(timesteps, key=lambda other: abs(other - default)) for default in defaults}
    notes = []
    moved = [f"{default} by {there}" for default, there in nearest.items() if default != there]
    if moved:
        notes.append(
            f"with {len(timesteps)} inference steps the model's default timesteps are replaced by the nearest: "
            + ", ".join(moved)
        )
    return tuple(nearest.values()), notes


def _calibrated(bundle: Bundle, measurement: Measurement, notes: list[str]) -> Measurement:
    """With the bundle's thresholds of the mask's map where it has them; a note says where it has none."""
    timesteps = _timesteps(bundle, measurement)
    known = {
        calibration.timestep: calibration.threshold
        for calibration in matching_calibrations(bundle, measurement)
        if calibration.map == measurement.mask_map
    }
    unknown = [str(timesteps[step.index]) for step in measurement.steps if timesteps[step.index] not in known]
    if unknown:
        notes.append(
            f"no threshold of {measurement.mask_map} is calibrated at timestep {', '.join(unknown)} for these settings:"
            " masks there are null, scores are not; "
            f"`memscan calibrate {shlex.quote(str(bundle.path))}` finds thresholds for this model, "
            "--threshold VALUE gives one, and it is marked as uncalibrated"
        )
    steps = (
        Step(step.index, known[timesteps[step.index]], True) if timesteps[step.index] in known else step
        for step in measurement.steps
    )
    return dataclasses.replace(measurement, steps=tuple(steps))
