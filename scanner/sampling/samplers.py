"""The samplers by name, and where on their way they can be measured.

DDIM is measured at its own timesteps alone. DPM-Solver++'s formula holds for any spacing, so a timestep that is asked
for takes the place of the nearest of the sampler's own: with few steps, too, an image can be measured at the noise
level that a threshold was calibrated at. Such a `Move` is part of the measurement: the trajectory changes a little.
"""

from collections.abc import Iterable, Sequence

from memscan.scanner.bundle import Schedule
from memscan.scanner.errors import UsageError
from memscan.scanner.sampling.ddim import ddim_steps, ddim_timesteps
from memscan.scanner.sampling.dpm_solver import dpm_steps, dpm_timesteps
from memscan.scanner.sampling.schedule import SolverStep
from memscan.scanner.settings import Move, Sampler

DEFAULT_STEPS: dict[Sampler, int] = {"ddim": 50, "dpmsolver++": 20}
"""Inference steps of a sampler where neither the user nor the bundle names a number."""


def sampler_timesteps(
    schedule: Schedule, sampler: Sampler, num_inference_steps: int, moved: Sequence[Move] = ()
) -> tuple[int, ...]:
    """The timesteps of a run, descending; a step's index is its place in this tuple.

    Args:
        moved: (index, timestep) of the steps that `moves` has moved.

    Raises:
        UsageError: an unknown sampler, a move of DDIM's, or a number of steps that the schedule cannot be divided into.
    """
    match sampler:
        case "ddim" if moved:
            raise UsageError(f"ddim cannot be measured at timestep {', '.join(str(timestep) for _, timestep in moved)}")
        case "ddim":
            own = ddim_timesteps(schedule, num_inference_steps)
        case "dpmsolver++":
            own = dpm_timesteps(schedule, num_inference_steps)
        case unknown:
            raise UsageError(f"no sampler is called {unknown!r}: expected one of {', '.join(DEFAULT_STEPS)}")
    elsewhere = dict(moved)
    return tuple(elsewhere.get(index, timestep) for index, timestep in enumerate(own))


def sampler_steps(
    schedule: Schedule, sampler: Sampler, num_inference_steps: int, moved: Sequence[Move] = ()
) -> tuple[SolverStep, ...]:
    """The steps of a run, in the order in which they are taken.

    Raises:
        UsageError: as `sampler_timesteps`; or a schedule that begins at pure noise.
    """
    timesteps = sampler_timesteps(schedule, sampler, num_inference_steps, moved)
    return ddim_steps(schedule, timesteps) if sampler == "ddim" else dpm_steps(schedule, timesteps)


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
        if not 0 <= timestep < schedule.num_train_timesteps:
            raise UsageError(f"timestep {timestep}: the model has 0 to {schedule.num_train_timesteps - 1}")
        index = min(range(len(timesteps)), key=lambda i: abs(timesteps[i] - timestep))
        if index in found:
            raise UsageError(
                f"timesteps {found[index]} and {timestep} are both nearest to step {index}, at {timesteps[index]}: "
                "choose one of them, or more inference steps"
            )
        found[index] = timestep
    return tuple((index, timestep) for index, timestep in sorted(found.items()) if timestep != timesteps[index])
