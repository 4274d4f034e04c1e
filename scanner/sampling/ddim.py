"""DDIM's timesteps and its update as linear coefficients, with diffusers' numbers (`DDIMScheduler`, eta = 0).

    x' = alpha' d + sigma' eps,  d = (x - sigma eps) / alpha    =>    x' = a x + b eps,
    a = alpha' / alpha,  b = sigma' - a sigma

alpha', sigma' belong to the timestep `num_train_timesteps // num_inference_steps` earlier, whatever the spacing.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Schedule
from memscan.scanner.sampling.schedule import (
    CLEAN,
    Level,
    SolverStep,
    Spacing,
    noise_level,
    spaced_timesteps,
    step_level,
)


def _leading(train: int, count: int, offset: int) -> NDArray[np.float64]:
    return np.arange(count, dtype=np.float64)[::-1] * (train // count) + offset


def _trailing(train: int, count: int, offset: int) -> NDArray[np.float64]:
    return np.round(np.arange(train, 0, -train / count)) - 1


def _linspace(train: int, count: int, offset: int) -> NDArray[np.float64]:
    return np.linspace(0, train - 1, count).round()[::-1]


_SPACINGS: dict[str, Spacing] = {"leading": _leading, "trailing": _trailing, "linspace": _linspace}


def ddim_timesteps(schedule: Schedule, num_inference_steps: int) -> tuple[int, ...]:
    """The sampler's timesteps, descending; a step's index is its place in this tuple.

    Raises:
        UsageError: a number of steps that this schedule cannot be divided into.
    """
    return spaced_timesteps(schedule, _SPACINGS, num_inference_steps)


def ddim_steps(schedule: Schedule, timesteps: tuple[int, ...]) -> tuple[SolverStep, ...]:
    """The sampler's steps at the timesteps of `ddim_timesteps`, in the order in which they are taken.

    Raises:
        UsageError: a schedule that begins at pure noise, where eps does not determine x_0.
    """
    stride = schedule.num_train_timesteps // len(timesteps)
    steps = []
    for timestep in timesteps:
        here, after = step_level(schedule, timestep), _level_after(schedule, timestep - stride)
        a = after.alpha / here.alpha
        steps.append(SolverStep(here, a, after.sigma - a * here.sigma))
    return tuple(steps)


def _level_after(schedule: Schedule, timestep: int) -> Level:
    if timestep < 0 and schedule.set_alpha_to_one:
        return CLEAN
    return noise_level(schedule, max(timestep, 0))
