"""DDIM's timesteps and coefficients against diffusers' `DDIMScheduler`, in float64 so that rounding hides nothing."""

import math

import pytest
import torch
from diffusers import DDIMScheduler

from memscan.scanner.errors import UsageError
from memscan.scanner.sampling.ddim import ddim_steps, ddim_timesteps
from memscan.scanner.sampling.schedule import noise_level
from memscan.scanner.schedules import DdpmSchedule

STEPS = [1, 3, 10, 30, 50, 999]


def diffusers_scheduler(
    spacing: str,
    *,
    set_alpha_to_one: bool = False,
    prediction_type: str = "epsilon",
    steps_offset: int = 1,
    zero_snr: bool = False,
) -> DDIMScheduler:
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=set_alpha_to_one,
        steps_offset=steps_offset,
        timestep_spacing=spacing,
        prediction_type=prediction_type,
        rescale_betas_zero_snr=zero_snr,
    )
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    return scheduler


def schedule_of(scheduler: DDIMScheduler) -> DdpmSchedule:
    config = scheduler.config
    return DdpmSchedule(
        num_train_timesteps=config.num_train_timesteps,
        alphas_cumprod=tuple(scheduler.alphas_cumprod.tolist()),
        steps_offset=config.steps_offset,
        set_alpha_to_one=config.set_alpha_to_one,
        timestep_spacing=config.timestep_spacing,
    )


@pytest.mark.parametrize("steps_offset", [0, 1])
@pytest.mark.parametrize("num_steps", STEPS)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_timesteps_equal_diffusers(spacing: str, num_steps: int, steps_offset: int) -> None:
    scheduler = diffusers_scheduler(spacing, steps_offset=steps_offset)
    scheduler.set_timesteps(num_steps)
    assert list(ddim_timesteps(schedule_of(scheduler), num_steps)) == scheduler.timesteps.tolist()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("set_alpha_to_one", [False, True])
@pytest.mark.parametrize("num_steps", [3, 50])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_steps_equal_diffusers(spacing: str, num_steps: int, set_alpha_to_one: bool, prediction_type: str) -> None:
    scheduler = diffusers_scheduler(spacing, set_alpha_to_one=set_alpha_to_one, prediction_type=prediction_type)
    scheduler.set_timesteps(num_steps)
    generator = torch.Generator().manual_seed(0)
    ours = theirs = torch.randn(64, dtype=torch.float64, generator=generator)
    schedule = schedule_of(scheduler)
    for step in ddim_steps(schedule, ddim_timesteps(schedule, num_steps)):
        output = torch.randn(64, dtype=torch.float64, generator=generator)
        eps = step.level.alpha * output + step.level.sigma * ours if prediction_type == "v_prediction" else output
        denoised = (ours - step.level.sigma * eps) / step.level.alpha
        assert step.a == step.c == 0
        ours = step.b * eps + step.d * denoised
        theirs = scheduler.step(output, step.level.timestep, theirs).prev_sample
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_noise_level_is_variance_preserving() -> None:
    schedule = schedule_of(diffusers_scheduler("leading"))
    level = noise_level(schedule, 500)
    assert level.timestep == 500
    assert level.alpha == math.sqrt(schedule.alphas_cumprod[500])
    assert level.alpha**2 + level.sigma**2 == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("num_steps", [0, -1, 1001])
def test_impossible_number_of_steps_is_refused(num_steps: int) -> None:
    with pytest.raises(UsageError, match=rf"^{num_steps} inference steps: the model has 1 to 1000$"):
        ddim_timesteps(schedule_of(diffusers_scheduler("leading")), num_steps)


def test_offset_beyond_the_last_timestep_is_refused() -> None:
    message = "^1000 inference steps reach timestep 1000, the model's last is 999: choose fewer steps$"
    with pytest.raises(UsageError, match=message):
        ddim_timesteps(schedule_of(diffusers_scheduler("leading", steps_offset=1)), 1000)


def test_zero_terminal_snr_equals_diffusers() -> None:
    """Of v-prediction, the only one that says something of the image at alpha = 0."""
    scheduler = diffusers_scheduler("trailing", set_alpha_to_one=True, prediction_type="v_prediction", zero_snr=True)
    scheduler.set_timesteps(10)
    schedule = schedule_of(scheduler)
    assert schedule.alphas_cumprod[-1] == 0
    generator = torch.Generator().manual_seed(0)
    ours = theirs = torch.randn(64, dtype=torch.float64, generator=generator)
    steps = ddim_steps(schedule, ddim_timesteps(schedule, 10))
    assert (steps[0].level.alpha, steps[0].level.sigma) == (0, 1)
    for step in steps:
        v = torch.randn(64, dtype=torch.float64, generator=generator)
        eps = step.level.alpha * v + step.level.sigma * ours
        denoised = step.level.alpha * ours - step.level.sigma * v
        ours = step.b * eps + step.d * denoised
        theirs = scheduler.step(v, int(step.level.timestep), theirs).prev_sample
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
