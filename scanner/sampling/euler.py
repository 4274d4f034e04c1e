"""Euler's method along the noise, with diffusers' numbers: `EulerDiscreteScheduler`, `FlowMatchEulerDiscreteScheduler`.

With r = sigma / alpha and X = x / alpha, both of diffusers' steps are X' = X + (r' - r) eps, which is

    x' = alpha' d + sigma' eps

on any schedule; of flow matching, where v = eps - d, it is x' = x + (sigma' - sigma) v. alpha', sigma' belong to the
next step, and after the last no noise is left. Steps may lie between two timesteps of a table.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.sampling.schedule import CLEAN, Level, SolverStep, first_order, noise_level, signal_level
from memscan.scanner.sampling.spacing import Spacing, leading, spaced, trailing
from memscan.scanner.schedules import DdpmSchedule, FlowSchedule


def _linspace(train: int, count: int, offset: int) -> NDArray[np.float64]:
    return np.linspace(0, train - 1, count)[::-1]


_SPACINGS: dict[str, Spacing] = {"leading": leading, "trailing": trailing, "linspace": _linspace}


def euler_timesteps(schedule: DdpmSchedule | FlowSchedule, num_inference_steps: int) -> tuple[float, ...]:
    """The sampler's timesteps, whole or between two, descending; a step's index is its place in this tuple.

    Raises:
        UsageError: a number of steps that this schedule cannot be divided into.
    """
    if isinstance(schedule, DdpmSchedule):
        return spaced(schedule, _SPACINGS, num_inference_steps)
    train = schedule.num_train_timesteps
    if not 1 <= num_inference_steps <= train:
        raise UsageError(f"{num_inference_steps} inference steps: the model has 1 to {train}")
    u = np.linspace(1, schedule.sigma_min or 1 / num_inference_steps, num_inference_steps)
    s = schedule.shift * u / (1 + (schedule.shift - 1) * u)
    return tuple((train * s).tolist())


def euler_steps(schedule: DdpmSchedule | FlowSchedule, timesteps: tuple[float, ...]) -> tuple[SolverStep, ...]:
    """The sampler's steps at `timesteps`, any that descend, in the order in which they are taken."""
    levels = [_level(schedule, timestep) for timestep in timesteps]
    return tuple(first_order(here, after) for here, after in zip(levels, (*levels[1:], CLEAN), strict=True))


def euler_scale(schedule: DdpmSchedule | FlowSchedule, first: Level) -> float:
    """What the initial noise is multiplied by: unless spacing is leading, diffusers leaves out the image's share."""
    return first.sigma if isinstance(schedule, DdpmSchedule) and schedule.timestep_spacing != "leading" else 1.0


def _level(schedule: DdpmSchedule | FlowSchedule, timestep: float) -> Level:
    if isinstance(schedule, DdpmSchedule):
        return signal_level(schedule, timestep)
    return noise_level(schedule, timestep)
