"""Noise levels, and what every sampler is made of: steps that are linear in x, eps and denoised estimates.

Whatever a model predicts, its graphs give eps and the denoised estimate, so that nothing here divides by alpha and a
path may begin at pure noise. Numbers of a schedule are float64.
"""

import dataclasses
import math
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.schedules import DdpmSchedule, EdmSchedule, FlowSchedule, Schedule

Latents = NDArray[np.float32]

_LEAST_SIGNAL = 2.0**-24
"""alpha^2 that diffusers gives pure noise where a sampler divides by alpha."""


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
    """One step of a sampler, x' = a x + b eps + c d_previous + d d, from x at `level`, with the estimate d of x_0."""

    level: Level
    a: float
    b: float
    c: float = 0.0
    d: float = 0.0

    def of_eps(self) -> "SolverStep":
        """The same step without its d, by d = (x - sigma eps) / alpha; there must be a signal."""
        if self.d == 0:
            return self
        share = self.d / self.level.alpha
        return SolverStep(self.level, self.a + share, self.b - share * self.level.sigma, self.c)

    def take(
        self, x: Latents, eps: Latents, uncond_eps: Latents | None, previous_denoised: Latents, guidance_scale: float
    ) -> tuple[Latents, Latents]:
        """x' and the guided denoised estimate, made of eps alone, all in float32; there must be a signal.

        Args:
            x: [N, C, h, w] at `level`, like all others.
            eps, uncond_eps: given the prompt and given none; without the latter nothing is guided.
            previous_denoised: the estimate of the step before; zeros where there is none.
        """
        step = self.of_eps()
        numbers = (guidance_scale, step.level.alpha, step.level.sigma, step.a, step.b, step.c)
        g, alpha, sigma, a, b, c = np.array(numbers, np.float32)
        guided = eps if uncond_eps is None else uncond_eps + (eps - uncond_eps) * g
        denoised: Latents = (x - sigma * guided) / alpha
        return a * x + b * guided + c * previous_denoised, denoised


def first_order(here: Level, after: Level) -> SolverStep:
    """x' = alpha' d + sigma' eps: the noise and the image of x, mixed anew; DDIM's step and Euler's."""
    return SolverStep(here, a=0.0, b=after.sigma, d=after.alpha)


def noise_level(schedule: Schedule, timestep: float) -> Level:
    """The noise level of a timestep: the one place where a schedule is read.

    Between two timesteps of a table sigma / alpha is interpolated linearly, as by diffusers' `EulerDiscreteScheduler`.
    """
    match schedule:
        case DdpmSchedule():
            return _of_table(schedule.alphas_cumprod, timestep)
        case FlowSchedule():
            sigma = timestep / schedule.num_train_timesteps
            return Level(timestep, 1 - sigma, sigma)
        case EdmSchedule():
            ratio = _edm_ratio(schedule, 1 - timestep / schedule.last_timestep)
            alpha = 1 / math.sqrt(1 + ratio**2)
            return Level(math.log(ratio) / 4, alpha, ratio * alpha)
        case unknown:
            assert_never(unknown)


def signal_level(schedule: Schedule, timestep: float) -> Level:
    """`noise_level` for a solver in sigma / alpha: a table's pure noise counts as a faint signal, as in diffusers."""
    if not isinstance(schedule, DdpmSchedule):
        return noise_level(schedule, timestep)
    if schedule.alphas_cumprod[-1]:
        return _of_table(schedule.alphas_cumprod, timestep)
    return _of_table((*schedule.alphas_cumprod[:-1], _LEAST_SIGNAL), timestep)


def _edm_ratio(schedule: EdmSchedule, ramp: float) -> float:
    """r at a share `ramp` of the way from the noisiest level to the least noisy one."""
    if schedule.sigma_schedule == "exponential":
        return math.exp((1 - ramp) * math.log(schedule.sigma_max) + ramp * math.log(schedule.sigma_min))
    high, low = (end ** (1 / schedule.rho) for end in (schedule.sigma_max, schedule.sigma_min))
    return (high + ramp * (low - high)) ** schedule.rho


def _of_table(alphas_cumprod: tuple[float, ...], timestep: float) -> Level:
    before, after = math.floor(timestep), math.ceil(timestep)
    if before == after:
        alpha_cumprod = alphas_cumprod[before]
        return Level(timestep, math.sqrt(alpha_cumprod), math.sqrt(1 - alpha_cumprod))
    low, high = (math.sqrt((1 - alphas_cumprod[index]) / alphas_cumprod[index]) for index in (before, after))
    ratio = low + (timestep - before) * (high - low)
    alpha = 1 / math.sqrt(1 + ratio**2)
    return Level(timestep, alpha, ratio * alpha)


def is_pure_noise(schedule: Schedule, timestep: int) -> bool:
    """Whether the image has no share of a state there, alpha = 0: eps is that state, whatever the prompt says.

    A solver that begins a little beside 0 in its stead, as diffusers' do, is no better off.
    """
    return noise_level(schedule, timestep).alpha == 0
