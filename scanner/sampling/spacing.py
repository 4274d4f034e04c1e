"""How the steps of a sampler are spaced among the training timesteps of a table."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.schedules import DdpmSchedule, EdmSchedule, FlowSchedule

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
    _check_count(train, num_inference_steps)
    timesteps = spacings[schedule.timestep_spacing](train, num_inference_steps, schedule.steps_offset).tolist()
    if timesteps[0] >= train or timesteps[-1] < 0:
        raise UsageError(
            f"{num_inference_steps} inference steps reach timestep {timesteps[0]:g}, the model's last is {train - 1}: "
            "choose fewer steps"
        )
    return tuple(timesteps)


def along_flow(schedule: FlowSchedule, num_inference_steps: int) -> tuple[float, ...]:
    """The timesteps of flow matching, descending from pure noise, at the schedule's shifted distances.

    Raises:
        UsageError: more steps than the model has timesteps, or none.
    """
    _check_count(schedule.num_train_timesteps, num_inference_steps)
    u = np.linspace(1, schedule.sigma_min or 1 / num_inference_steps, num_inference_steps)
    s = schedule.shift * u / (1 + (schedule.shift - 1) * u)
    return tuple((schedule.num_train_timesteps * s).tolist())


def along_edm(schedule: EdmSchedule, num_inference_steps: int) -> tuple[float, ...]:
    """The timesteps of an EDM schedule, descending in equal distances, which its levels bend.

    Raises:
        UsageError: more steps than the model has timesteps, or none.
    """
    _check_count(schedule.num_train_timesteps, num_inference_steps)
    return tuple(np.linspace(schedule.last_timestep, 0, num_inference_steps).tolist())


def _check_count(train: int, num_inference_steps: int) -> None:
    if not 1 <= num_inference_steps <= train:
        raise UsageError(f"{num_inference_steps} inference steps: the model has 1 to {train}")
