"""DPM-Solver++ 2M's timesteps and coefficients against diffusers' `DPMSolverMultistepScheduler`, in float64."""

import math

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from memscan.scanner.errors import UsageError
from memscan.scanner.sampling.dpm_solver import dpm_steps, dpm_timesteps
from memscan.scanner.sampling.samplers import sampler_steps
from memscan.scanner.sampling.schedule import SolverStep
from memscan.scanner.schedules import DdpmSchedule

SPACINGS = ["leading", "trailing", "linspace"]


class Float64Scheduler(DPMSolverMultistepScheduler):
    """diffusers' scheduler with the noise levels in float64, which it rounds to float32."""

    def set_timesteps(self, *args: object, **options: object) -> None:
        super().set_timesteps(*args, **options)
        levels = self.alphas_cumprod[self.timesteps]
        self.sigmas = torch.cat([((1 - levels) / levels) ** 0.5, torch.zeros(1, dtype=torch.float64)])


def diffusers_scheduler(spacing: str, prediction_type: str = "epsilon") -> DPMSolverMultistepScheduler:
    scheduler = Float64Scheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing=spacing,
        prediction_type=prediction_type,
    )
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    return scheduler


def schedule_of(scheduler: DPMSolverMultistepScheduler) -> DdpmSchedule:
    config = scheduler.config
    alphas_cumprod = tuple(scheduler.alphas_cumprod.tolist())
    return DdpmSchedule(config.num_train_timesteps, alphas_cumprod, config.steps_offset, False, config.timestep_spacing)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 10, 20, 30, 50, 250])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_timesteps_equal_diffusers(spacing: str, num_steps: int) -> None:
    scheduler = diffusers_scheduler(spacing)
    scheduler.set_timesteps(num_steps)
    assert list(dpm_timesteps(schedule_of(scheduler), num_steps)) == scheduler.timesteps.tolist()


def follow(steps: tuple[SolverStep, ...], scheduler: DPMSolverMultistepScheduler) -> None:
    """Both samplers along one trajectory of random model outputs; float32 in diffusers' `step` is the only rounding."""
    generator = torch.Generator().manual_seed(0)
    ours = theirs = torch.randn(64, dtype=torch.float64, generator=generator)
    previous = torch.zeros_like(ours)
    for step in steps:
        output = torch.randn(64, dtype=torch.float64, generator=generator)
        is_v = scheduler.config.prediction_type == "v_prediction"
        eps = step.level.alpha * output + step.level.sigma * ours if is_v else output
        denoised = (ours - step.level.sigma * eps) / step.level.alpha
        ours = step.a * ours + step.c * previous + step.d * denoised
        assert step.b == 0
        theirs = scheduler.step(output, step.level.timestep, theirs).prev_sample.double()
        # diffusers rounds the state that enters its update to float32: one step's worth, relative to what is added up.
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=2e-7 * denoised.abs().max().item())
        previous, theirs = denoised, ours


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 10, 14, 15, 20])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_steps_equal_diffusers(spacing: str, num_steps: int, prediction_type: str) -> None:
    scheduler = diffusers_scheduler(spacing, prediction_type)
    scheduler.set_timesteps(num_steps)
    schedule = schedule_of(scheduler)
    follow(dpm_steps(schedule, dpm_timesteps(schedule, num_steps)), scheduler)


def test_any_spacing_equals_diffusers() -> None:
    timesteps = (951, 903, 700, 201, 200, 48)
    scheduler = diffusers_scheduler("leading")
    scheduler.set_timesteps(timesteps=list(timesteps))
    follow(dpm_steps(schedule_of(scheduler), timesteps), scheduler)


def test_coefficients_equal_the_papers_formula() -> None:
    """Algorithm 2 of arXiv 2211.01095 with r = h_previous / h, spelled out for one inner step, exactly in float64."""
    schedule = schedule_of(diffusers_scheduler("leading"))
    alpha = np.sqrt([schedule.alphas_cumprod[t] for t in (901, 651, 401)])
    sigma = np.sqrt(1 - alpha**2)
    log_snr = np.log(alpha / sigma)
    h, r = log_snr[2] - log_snr[1], (log_snr[1] - log_snr[0]) / (log_snr[2] - log_snr[1])
    x, eps, previous = 0.3, -1.1, 0.7
    denoised = (x - sigma[1] * eps) / alpha[1]
    d = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * previous
    expected = sigma[2] / sigma[1] * x - alpha[2] * (math.exp(-h) - 1) * d
    step = dpm_steps(schedule, (901, 651, 401, 1))[1]
    assert step.a * x + step.c * previous + step.d * denoised == pytest.approx(expected, rel=1e-13)


def test_the_last_step_is_the_denoised_estimate() -> None:
    schedule = schedule_of(diffusers_scheduler("leading"))
    *_, last = dpm_steps(schedule, (901, 401, 1))
    assert (last.a, last.b, last.c, last.d) == (0, 0, 0, 1)


@pytest.mark.parametrize(("spacing", "num_steps"), [("leading", 1000), ("linspace", 1000)])
def test_steps_that_repeat_a_timestep_are_refused(spacing: str, num_steps: int) -> None:
    message = f"^{num_steps} inference steps of dpmsolver\\+\\+ repeat a timestep: choose fewer steps$"
    with pytest.raises(UsageError, match=message):
        sampler_steps(schedule_of(diffusers_scheduler(spacing)), "dpmsolver++", num_steps)
