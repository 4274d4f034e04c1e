"""Euler's method along the noise, with diffusers' numbers: `EulerDiscreteScheduler`, `EDMEulerScheduler`,
`FlowMatchEulerDiscreteScheduler`.

With r = sigma / alpha and X = x / alpha, all of diffusers' steps are X' = X + (r' - r) eps, which is

    x' = alpha' d + sigma' eps

on any schedule; of flow matching, where v = eps - d, it is x' = x + (sigma' - sigma) v. alpha', sigma' belong to the
next step, and after the last no noise is left. Steps may lie between two timesteps of a table.
"""

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.sampling.schedule import CLEAN, Level, SolverStep, first_order, signal_level
from memscan.scanner.sampling.spacing import Spacing, along_edm, along_flow, leading, spaced, trailing
from memscan.scanner.schedules import DdpmSchedule, EdmSchedule, FlowSchedule, Schedule


def _linspace(train: int, count: int, offset: int) -> NDArray[np.float64]:
    return np.linspace(0, train - 1, count)[::-1]


_SPACINGS: dict[str, Spacing] = {"leading": leading, "trailing": trailing, "linspace": _linspace}


def euler_timesteps(schedule: Schedule, num_inference_steps: int) -> tuple[float, ...]:
    """The sampler's timesteps, whole or between two, descending; a step's index is its place in this tuple.

    Raises:
        UsageError: a number of steps that this schedule cannot be divided into.
    """
    match schedule:
        case DdpmSchedule():
            return spaced(schedule, _SPACINGS, num_inference_steps)
        case FlowSchedule():
            return along_flow(schedule, num_inference_steps)
        case EdmSchedule():
            return along_edm(schedule, num_inference_steps)
        case unknown:
            assert_never(unknown)


def euler_steps(schedule: Schedule, timesteps: tuple[float, ...]) -> tuple[SolverStep, ...]:
    """The sampler's steps at `timesteps`, any that descend, in the order in which they are taken."""
    levels = [signal_level(schedule, timestep) for timestep in timesteps]
    return tuple(first_order(here, after) for here, after in zip(levels, (*levels[1:], CLEAN), strict=True))


def euler_scale(schedule: Schedule, first: Level) -> float:
    """What the initial noise is multiplied by: of a table, unless spacing is leading, diffusers leaves out the image's
    share."""
    return first.sigma if isinstance(schedule, DdpmSchedule) and schedule.timestep_spacing != "leading" else 1.0
