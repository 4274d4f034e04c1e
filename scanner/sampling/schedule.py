"""Noise levels, and what every sampler is made of: steps that are linear in x, eps and the previous denoised estimate.

Eps- and v-prediction share this form, since every graph gives eps. Numbers of a schedule are float64.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Schedule
from memscan.scanner.errors import UsageError

Latents = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Level:
    """A noise level: x_t = alpha x_0 + sigma noise, and the `timestep` by which the denoiser is told of it."""

    timestep: float
    alpha: float
    sigma: float


CLEAN = Level(0, 1.0, 0.0)
"""Where sampling ends: no noise is left."""


@dataclasses.dataclass(frozen=True)
class SolverStep:
    """One step of a sampler, x' = a x + b eps + c d_previous, from x at `level`."""

    level: Level
    a: float
    b: float
    c: float = 0.0

    def take(
        self, x: Latents, eps: Latents, uncond_eps: Latents, previous_denoised: Latents, guidance_scale: float
    ) -> tuple[Latents, Latents]:
        """x' and the guided denoised estimate, by the operations of a bundle's guided step, all in float32.

        Args:
            x: [N, C, h, w] at `level`, like all others.
            eps, uncond_eps: given the prompt and given none.
            previous_denoised: the estimate of the step before; zeros where there is none.
        """
        numbers = (guidance_scale, self.level.alpha, self.level.sigma, self.a, self.b, self.c)
        g, alpha, sigma, a, b, c = np.array(numbers, np.float32)
        guided = uncond_eps + (eps - uncond_eps) * g
        denoised: Latents = (x - sigma * guided) / alpha
        return a * x + b * guided + c * previous_denoised, denoised


Spacing = Callable[[int, int, int], NDArray[np.float64]]
"""Training timesteps, sampling steps and the schedule's offset -> timesteps, descending."""


def noise_level(schedule: Schedule, timestep: int) -> Level:
    """The noise level of a training timestep: the one place where a schedule's table is read."""
    alpha_cumprod = schedule.alphas_cumprod[timestep]
    return Level(timestep, math.sqrt(alpha_cumprod), math.sqrt(1 - alpha_cumprod))


def step_level(schedule: Schedule, timestep: int) -> Level:
    """`noise_level` where a step begins.

    Raises:
        UsageError: the level is pure noise, where eps does not determine x_0.
    """
    level = noise_level(schedule, timestep)
    if level.alpha == 0:
        raise UsageError(f"at timestep {timestep} the model's schedule is pure noise (zero terminal SNR)")
    return level


def spaced_timesteps(schedule: Schedule, spacings: dict[str, Spacing], num_inference_steps: int) -> tuple[int, ...]:
    """The timesteps that a sampler takes by the schedule's spacing, descending.

    Raises:
        UsageError: a number of steps that this schedule cannot be divided into.
    """
    train = schedule.num_train_timesteps
    if not 1 <= num_inference_steps <= train:
        raise UsageError(f"{num_inference_steps} inference steps: the model has 1 to {train}")
    spaced = spacings[schedule.timestep_spacing](train, num_inference_steps, schedule.steps_offset)
    timesteps = tuple(int(timestep) for timestep in spaced)
    if timesteps[0] >= train or timesteps[-1] < 0:
        raise UsageError(
            f"{num_inference_steps} inference steps reach timestep {timesteps[0]}, the model's last is {train - 1}: "
            "choose fewer steps"
        )
    return timesteps
