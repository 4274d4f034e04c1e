"""The samplers by name, the schedules that they suit, and where on their way they can be measured.

DDIM is measured at its own timesteps alone. The formulas of the others hold for any spacing, so a timestep that is
asked for takes the place of the nearest of the sampler's own: with few steps, too, an image can be measured at the
noise level that a threshold was calibrated at. Such a `Move` is part of the measurement: the trajectory changes a
little. A step that lies between two timesteps is known by the nearest one.
"""

from collections.abc import Iterable, Sequence

from memscan.scanner.errors import UsageError
from memscan.scanner.sampling.ddim import ddim_steps, ddim_timesteps
from memscan.scanner.sampling.dpm_solver import dpm_steps, dpm_timesteps
from memscan.scanner.sampling.euler import euler_scale, euler_steps, euler_timesteps
from memscan.scanner.sampling.schedule import SolverStep
from memscan.scanner.schedules import DdpmSchedule, EdmSchedule, FlowSchedule, Schedule
from memscan.scanner.settings import Move, Sampler

DEFAULT_STEPS: dict[Sampler, int] = {"ddim": 50, "dpmsolver++": 20, "euler": 28}
"""Inference steps of a sampler where neither the user nor the bundle names a number."""

_SUITED: dict[type[Schedule], tuple[Sampler, ...]] = {
    DdpmSchedule: ("ddim", "dpmsolver++", "euler"),
    FlowSchedule: ("euler",),
    EdmSchedule: ("euler", "dpmsolver++"),
}

_TITLES = {"ddpm": "DDPM's noise", "flow_matching": "flow matching", "edm": "EDM's noise"}


def samplers_for(schedule: Schedule) -> tuple[Sampler, ...]:
    """The samplers that there are for a schedule; the first is the usual one."""
    return _SUITED[type(schedule)]


def sampler_timesteps(
    schedule: Schedule, sampler: Sampler, num_inference_steps: int, moved: Sequence[Move] = ()
) -> tuple[int, ...]:
    """The timesteps of a run, descending; a step's index is its place in this tuple.

    Args:
        moved: (index, timestep) of the steps that `moves` has moved.

    Raises:
        UsageError: an unknown sampler, or one that does not suit the schedule, a move of DDIM's, or a number of steps
            that the schedule cannot be divided into.
    """
    return tuple(map(round, _positions(schedule, sampler, num_inference_steps, moved)))


def sampler_steps(
    schedule: Schedule, sampler: Sampler, num_inference_steps: int, moved: Sequence[Move] = ()
) -> tuple[SolverStep, ...]:
    """The steps of a run, in the order in which they are taken.

    Raises:
        UsageError: as `sampler_timesteps`.
    """
    positions = _positions(schedule, sampler, num_inference_steps, moved)
    if sampler == "euler":
        return euler_steps(schedule, positions)
    assert not isinstance(schedule, FlowSchedule)
    if sampler == "dpmsolver++":
        return dpm_steps(schedule, positions)
    assert isinstance(schedule, DdpmSchedule)
    return ddim_steps(schedule, tuple(map(int, positions)))


def starting_scale(schedule: Schedule, sampler: Sampler, first: SolverStep) -> float:
    """What the initial noise is multiplied by, as diffusers does, before the first step."""
    return euler_scale(schedule, first.level) if sampler == "euler" else 1.0


def _positions(
    schedule: Schedule, sampler: Sampler, num_inference_steps: int, moved: Sequence[Move]
) -> tuple[float, ...]:
    """The timesteps of a run, whole or between two, descending."""
    if sampler not in DEFAULT_STEPS:
        raise UsageError(f"no sampler is called {sampler!r}: expected one of {', '.join(DEFAULT_STEPS)}")
    if sampler not in samplers_for(schedule):
        raise UsageError(
            f"{sampler} does not sample a model of {_TITLES[schedule.kind]}: choose "
            f"{' or '.join(samplers_for(schedule))}"
        )
    if sampler == "ddim" and moved:
        raise UsageError(f"ddim cannot be measured at timestep {', '.join(str(timestep) for _, timestep in moved)}")
    own = _own(schedule, sampler, num_inference_steps)
    elsewhere = dict(moved)
    positions = tuple(elsewhere.get(index, timestep) for index, timestep in enumerate(own))
    if sampler != "ddim" and len(set(map(round, positions))) < len(positions):
        raise UsageError(f"{num_inference_steps} inference steps of {sampler} repeat a timestep: choose fewer steps")
    return positions


def _own(schedule: Schedule, sampler: Sampler, num_inference_steps: int) -> tuple[float, ...]:
    if sampler == "euler":
        return euler_timesteps(schedule, num_inference_steps)
    assert not isinstance(schedule, FlowSchedule)
    if sampler == "dpmsolver++":
        return dpm_timesteps(schedule, num_inference_steps)
    assert isinstance(schedule, DdpmSchedule)
    return ddim_timesteps(schedule, num_inference_steps)


def moves(timesteps: tuple[int, ...], wanted: Iterable[int], schedule: Schedule) -> tuple[Move, ...]:
    """How to measure at timesteps that are not the sampler's own: (index, timestep), by index.

    The nearest step moves, so that the timesteps still descend.

    Args:
        timesteps: the sampler's own.
        wanted: those to measure at; what the sampler has already needs no move.

    Raises:
        UsageError: a timestep that the model does not have, or two that the same step would have to move to.
    """
    found: dict[int, int] = {}
    for timestep in dict.fromkeys(wanted):
        if not 0 <= timestep <= schedule.last_timestep:
            raise UsageError(f"timestep {timestep}: the model has 0 to {schedule.last_timestep}")
        index = min(range(len(timesteps)), key=lambda i: abs(timesteps[i] - timestep))
        if index in found:
            raise UsageError(
                f"timesteps {found[index]} and {timestep} are both nearest to step {index}, at {timesteps[index]}: "
                "choose one of them, or more inference steps"
            )
        found[index] = timestep
    return tuple((index, timestep) for index, timestep in sorted(found.items()) if timestep != timesteps[index])
