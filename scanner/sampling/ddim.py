"""DDIM's timesteps and its update as linear coefficients, with diffusers' numbers (`DDIMScheduler`, eta = 0).

    x' = alpha' d + sigma' eps

alpha', sigma' belong to the timestep `num_train_timesteps // num_inference_steps` earlier, whatever the spacing.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.sampling.schedule import CLEAN, Level, SolverStep, first_order, noise_level
from memscan.scanner.sampling.spacing import Spacing, leading, spaced, trailing
from memscan.scanner.schedules import DdpmSchedule


def _linspace(train: int, count: int, offset: int) -> NDArray[np.float64]:
    return np.linspace(0, train - 1, count).round()[::-1]


_SPACINGS: dict[str, Spacing] = {"leading": leading, "trailing": trailing, "linspace": _linspace}


def ddim_timesteps(schedule: DdpmSchedule, num_inference_steps: int) -> tuple[int, ...]:
    """The sampler's timesteps, descending; a step's index is its place in this tuple.

    Raises:
        UsageError: a number of steps that this schedule cannot be divided into.
    """
    return tuple(map(int, spaced(schedule, _SPACINGS, num_inference_steps)))


def ddim_steps(schedule: DdpmSchedule, timesteps: tuple[int, ...]) -> tuple[SolverStep, ...]:
    """The sampler's steps at the timesteps of `ddim_timesteps`, in the order in which they are taken."""
    stride = schedule.num_train_timesteps // len(timesteps)
    return tuple(
        first_order(noise_level(schedule, timestep), _level_after(schedule, timestep - stride))
        for timestep in timesteps
    )


def _level_after(schedule: DdpmSchedule, timestep: int) -> Level:
    if timestep < 0 and schedule.set_alpha_to_one:
        return CLEAN
    return noise_level(schedule, max(timestep, 0))
