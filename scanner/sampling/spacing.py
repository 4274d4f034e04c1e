"""How the steps of a sampler are spaced among the training timesteps of a table."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.schedules import DdpmSchedule

Spacing = Callable[[int, int, int], NDArray[np.float64]]
"""Training timesteps, sampling steps and the schedule's offset -> timesteps, descending."""


def leading(train: int, count: int, offset: int) -> NDArray[np.float64]:
    """The first of `count` equal parts each, so that the last step is the offset and the first lies below the last."""
    return np.arange(count, dtype=np.float64)[::-1] * (train // count) + offset


def trailing(train: int, count: int, offset: int) -> NDArray[np.float64]:
    """The last of `count` equal parts each, so that the first step is the last timestep."""
    return np.round(np.arange(train, 0, -train / count)) - 1


def spaced(schedule: DdpmSchedule, spacings: dict[str, Spacing], num_inference_steps: int) -> tuple[float, ...]:
    """The timesteps that a sampler takes by the schedule's spacing, descending.

    Raises:
        UsageError: a number of steps that this schedule cannot be divided into.
    """
    train = schedule.num_train_timesteps
    if not 1 <= num_inference_steps <= train:
        raise UsageError(f"{num_inference_steps} inference steps: the model has 1 to {train}")
    timesteps = spacings[schedule.timestep_spacing](train, num_inference_steps, schedule.steps_offset).tolist()
    if timesteps[0] >= train or timesteps[-1] < 0:
        raise UsageError(
            f"{num_inference_steps} inference steps reach timestep {timesteps[0]:g}, the model's last is {train - 1}: "
            "choose fewer steps"
        )
    return tuple(timesteps)
