"""DDIM's timesteps and its update as linear coefficients, with diffusers' numbers (`DDIMScheduler`, eta = 0).

    x' = alpha' d + sigma' eps,  d = (x - sigma eps) / alpha    =>    x' = a x + b eps,
    a = alpha' / alpha,  b = sigma' - a sigma

alpha', sigma' belong to the timestep `num_train_timesteps // num_inference_steps` earlier, whatever the spacing.
eps- and v-prediction share this form, since every graph gives eps. Everything here is float64.
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
    """One step of the sampler, x' = a x + b eps + c d_previous, at `timestep`, where x = alpha x_0 + sigma noise."""

    timestep: int
    alpha: float
    sigma: float
    a: float
    b: float
    c: float = 0.0


def _leading(train: int, count: int, offset: int) -> NDArray[np.float64]:
    return np.arange(count, dtype=np.float64)[::-1] * (train // count) + offset


def _trailing(train: int, count: int, offset: int) -> NDArray[np.float64]:
    return np.round(np.arange(train, 0, -train / count)) - 1


def _linspace(train: int, count: int, offset: int) -> NDArray[np.float64]:
    return np.linspace(0, train - 1, count).round()[::-1]


_SPACINGS: dict[str, Callable[[int, int, int], NDArray[np.float64]]] = {
    "leading": _leading,
    "trailing": _trailing,
    "linspace": _linspace,
}


def ddim_timesteps(schedule: Schedule, num_inference_steps: int) -> tuple[int, ...]:
    """The sampler's timesteps, descending; a step's index is its place in this tuple.

    Raises:
        UsageError: a number of steps that this schedule cannot be divided into, or an unknown spacing.
    """
    train = schedule.num_train_timesteps
    if not 1 <= num_inference_steps <= train:
        raise UsageError(f"{num_inference_steps} inference steps: the model has 1 to {train}")
    if schedule.timestep_spacing not in _SPACINGS:
        raise UsageError(f"timestep spacing {schedule.timestep_spacing!r} is not one of {', '.join(_SPACINGS)}")
    spaced = _SPACINGS[schedule.timestep_spacing](train, num_inference_steps, schedule.steps_offset)
    timesteps = tuple(int(timestep) for timestep in spaced)
    if timesteps[0] >= train or timesteps[-1] < 0:
        raise UsageError(
            f"{num_inference_steps} inference steps reach timestep {timesteps[0]}, the model's last is {train - 1}: "
            "choose fewer steps"
        )
    return timesteps


def noise_level(schedule: Schedule, timestep: int) -> tuple[float, float]:
    """alpha and sigma of x_t = alpha x_0 + sigma noise at a training timestep."""
    alpha_cumprod = schedule.alphas_cumprod[timestep]
    return math.sqrt(alpha_cumprod), math.sqrt(1 - alpha_cumprod)


def ddim_steps(schedule: Schedule, num_inference_steps: int) -> tuple[SolverStep, ...]:
    """The sampler's steps in the order in which they are taken.

    Raises:
        UsageError: as `ddim_timesteps`; or a schedule that begins at pure noise, where eps does not determine x_0.
    """
    stride = schedule.num_train_timesteps // num_inference_steps if num_inference_steps else 0
    steps = []
    for timestep in ddim_timesteps(schedule, num_inference_steps):
        alpha, sigma = noise_level(schedule, timestep)
        if alpha == 0:
            raise UsageError(f"at timestep {timestep} the model's schedule is pure noise (zero terminal SNR)")
        next_alpha, next_sigma = _level_after(schedule, timestep - stride)
        a = next_alpha / alpha
        steps.append(SolverStep(timestep, alpha, sigma, a, next_sigma - a * sigma))
    return tuple(steps)


def _level_after(schedule: Schedule, timestep: int) -> tuple[float, float]:
    if timestep >= 0:
        return noise_level(schedule, timestep)
    return (1.0, 0.0) if schedule.set_alpha_to_one else noise_level(schedule, 0)
