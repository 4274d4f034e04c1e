"""Noise levels, and what every sampler is made of: steps that are linear in x, eps and the previous denoised estimate.

Eps- and v-prediction share this form, since every graph gives eps. Everything here is float64.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Schedule
from memscan.scanner.errors import UsageError


@dataclasses.dataclass(frozen=True)
class SolverStep:
    """One step of a sampler, x' = a x + b eps + c d_previous, at `timestep`, where x = alpha x_0 + sigma noise."""

    timestep: int
    alpha: float
    sigma: float
    a: float
    b: float
    c: float = 0.0


Spacing = Callable[[int, int, int], NDArray[np.float64]]
"""Training timesteps, sampling steps and the schedule's offset -> timesteps, descending."""


def noise_level(schedule: Schedule, timestep: int) -> tuple[float, float]:
    """alpha and sigma of x_t = alpha x_0 + sigma noise at a training timestep."""
    alpha_cumprod = schedule.alphas_cumprod[timestep]
    return math.sqrt(alpha_cumprod), math.sqrt(1 - alpha_cumprod)


def step_level(schedule: Schedule, timestep: int) -> tuple[float, float]:
    """`noise_level` where a step begins.

    Raises:
        UsageError: the level is pure noise, where eps does not determine x_0.
    """
    alpha, sigma = noise_level(schedule, timestep)
    if alpha == 0:
        raise UsageError(f"at timestep {timestep} the model's schedule is pure noise (zero terminal SNR)")
    return alpha, sigma


def spaced_timesteps(schedule: Schedule, spacings: dict[str, Spacing], num_inference_steps: int) -> tuple[int, ...]:
    """The timesteps that a sampler takes by the schedule's spacing, descending.

    Raises:
        UsageError: a number of steps that this schedule cannot be divided into, or an unknown spacing.
    """
    train = schedule.num_train_timesteps
    if not 1 <= num_inference_steps <= train:
        raise UsageError(f"{num_inference_steps} inference steps: the model has 1 to {train}")
    if schedule.timestep_spacing not in spacings:
        raise UsageError(f"timestep spacing {schedule.timestep_spacing!r} is not one of {', '.join(spacings)}")
    spaced = spacings[schedule.timestep_spacing](train, num_inference_steps, schedule.steps_offset)
    timesteps = tuple(int(timestep) for timestep in spaced)
    if timesteps[0] >= train or timesteps[-1] < 0:
        raise UsageError(
            f"{num_inference_steps} inference steps reach timestep {timesteps[0]}, the model's last is {train - 1}: "
            "choose fewer steps"
        )
    return timesteps
