"""DPM-Solver++ 2M as linear coefficients (Lu et al., arXiv 2211.01095, Algorithm 2), with diffusers' numbers.

These are `DPMSolverMultistepScheduler`'s and `EDMDPMSolverMultistepScheduler`'s: dpmsolver++, order 2, midpoint, levels
as the schedule has them, the last sigma zero. With
lambda = log(alpha / sigma), h = lambda' - lambda, h_previous = lambda - lambda_previous, w = h / (2 h_previous):

    x' = (sigma' / sigma) x + g ((1 + w) d - w d_previous),  g = alpha' - alpha sigma' / sigma

The first step and the last, which ends at x' = d, are of first order: w = 0. The formula holds for any spacing.
"""

import math

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.sampling.schedule import CLEAN, Level, SolverStep, signal_level
from memscan.scanner.sampling.spacing import Spacing, along_edm, spaced, trailing
from memscan.scanner.schedules import DdpmSchedule, EdmSchedule


def _leading(train: int, count: int, offset: int) -> NDArray[np.float64]:
    return np.arange(count, 0, -1, dtype=np.float64) * (train // (count + 1)) + offset


def _linspace(train: int, count: int, offset: int) -> NDArray[np.float64]:
    return np.linspace(0, train - 1, count + 1).round()[:0:-1]


_SPACINGS: dict[str, Spacing] = {"leading": _leading, "trailing": trailing, "linspace": _linspace}


def dpm_timesteps(schedule: DdpmSchedule | EdmSchedule, num_inference_steps: int) -> tuple[float, ...]:
    """The sampler's timesteps, whole ones of a table, descending; a step's index is its place in this tuple.

    Raises:
        UsageError: a number of steps that this schedule cannot be divided into.
    """
    if isinstance(schedule, EdmSchedule):
        return along_edm(schedule, num_inference_steps)
    return tuple(map(int, spaced(schedule, _SPACINGS, num_inference_steps)))


def dpm_steps(schedule: DdpmSchedule | EdmSchedule, timesteps: tuple[float, ...]) -> tuple[SolverStep, ...]:
    """The sampler's steps at `timesteps`, any that descend, in the order in which they are taken."""
    levels = [signal_level(schedule, timestep) for timestep in timesteps]
    steps = []
    for i, here in enumerate(levels):
        last = i == len(levels) - 1
        after = CLEAN if last else levels[i + 1]
        w = 0.0
        if i and not last:
            w = (_log_snr(after) - _log_snr(here)) / (2 * (_log_snr(here) - _log_snr(levels[i - 1])))
        shrink = after.sigma / here.sigma
        g = after.alpha - here.alpha * shrink
        steps.append(SolverStep(here, a=shrink, b=0.0, c=-g * w, d=g * (1 + w)))
    return tuple(steps)


def _log_snr(level: Level) -> float:
    return math.log(level.alpha / level.sigma)
