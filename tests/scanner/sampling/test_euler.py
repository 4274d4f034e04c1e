"""Euler's timesteps and coefficients against diffusers' schedulers, along trajectories of random model outputs."""

import itertools
import math

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from memscan.scanner.errors import UsageError
from memscan.scanner.sampling.euler import euler_scale, euler_steps, euler_timesteps
from memscan.scanner.sampling.samplers import moves, sampler_steps, sampler_timesteps
from memscan.scanner.sampling.schedule import SolverStep
from memscan.scanner.schedules import DdpmSchedule, FlowSchedule

SPACINGS = ["leading", "trailing", "linspace"]
ROUNDED = {"rtol": 0, "atol": 5e-6}
"""diffusers keeps its levels and states in float32: some tens of roundings of values up to about 10."""


def table(spacing: str, *, zero_snr: bool = False) -> EulerDiscreteScheduler:
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing=spacing,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=zero_snr,
    )


def schedule_of(scheduler: EulerDiscreteScheduler) -> DdpmSchedule:
    config = scheduler.config
    levels = scheduler.alphas_cumprod.double()
    if config.rescale_betas_zero_snr:
        levels[-1] = 0
    return DdpmSchedule(1000, tuple(levels.tolist()), config.steps_offset, False, config.timestep_spacing)


def flow(
    shift: float, num_steps: int, *, pipeline_sigmas: bool
) -> tuple[FlowMatchEulerDiscreteScheduler, FlowSchedule]:
    """diffusers' scheduler, its timesteps set as SD3's pipeline does or as FLUX's, and ours."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    if pipeline_sigmas:
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / num_steps, num_steps))
        return scheduler, FlowSchedule(1000, shift, None)
    scheduler.set_timesteps(num_steps)
    return scheduler, FlowSchedule(1000, shift, scheduler.sigma_min)


@pytest.mark.parametrize("num_steps", [1, 3, 4, 28, 30])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_timesteps_equal_diffusers(spacing: str, num_steps: int) -> None:
    scheduler = table(spacing)
    scheduler.set_timesteps(num_steps)
    ours = euler_timesteps(schedule_of(scheduler), num_steps)
    np.testing.assert_allclose(ours, scheduler.timesteps.double(), rtol=1e-7)  # float32's rounding


@pytest.mark.parametrize("num_steps", [1, 2, 4, 30])
@pytest.mark.parametrize(("spacing", "zero_snr"), [*((spacing, False) for spacing in SPACINGS), ("trailing", True)])
def test_steps_equal_diffusers(spacing: str, zero_snr: bool, num_steps: int) -> None:
    scheduler = table(spacing, zero_snr=zero_snr)
    scheduler.set_timesteps(num_steps)
    schedule = schedule_of(scheduler)
    steps = euler_steps(schedule, euler_timesteps(schedule, num_steps))
    # diffusers begins at 4096 times the noise, in float32.
    rounded = {"rtol": 0, "atol": 5e-4} if zero_snr else ROUNDED
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(64, dtype=torch.float64, generator=generator)
    theirs = noise * scheduler.init_noise_sigma
    ours = noise * euler_scale(schedule, steps[0].level)
    for step, timestep in zip(steps, scheduler.timesteps, strict=True):
        v = torch.randn(64, dtype=torch.float64, generator=generator)
        told = scheduler.scale_model_input(theirs, timestep)
        torch.testing.assert_close(ours, told.double(), **rounded)
        theirs = scheduler.step(v, timestep, theirs).prev_sample.double()
        ours = by_v(step, ours, v)
    torch.testing.assert_close(ours, theirs, **rounded)


@pytest.mark.parametrize("num_steps", [1, 4, 28])
@pytest.mark.parametrize("pipeline_sigmas", [False, True], ids=["scheduler", "pipeline"])
@pytest.mark.parametrize("shift", [1.0, 3.0, math.exp(1.15)])
def test_flow_matching_equals_diffusers(shift: float, pipeline_sigmas: bool, num_steps: int) -> None:
    scheduler, schedule = flow(shift, num_steps, pipeline_sigmas=pipeline_sigmas)
    timesteps = euler_timesteps(schedule, num_steps)
    np.testing.assert_allclose(timesteps, scheduler.timesteps.double(), rtol=2e-7)  # float32's rounding
    steps = euler_steps(schedule, timesteps)
    np.testing.assert_allclose([step.level.sigma for step in steps], scheduler.sigmas[:-1].double(), rtol=2e-7)
    assert (steps[0].level.alpha, steps[0].level.sigma) == (0, 1)
    generator = torch.Generator().manual_seed(0)
    ours = theirs = torch.randn(64, dtype=torch.float64, generator=generator)
    for step, timestep in zip(steps, scheduler.timesteps, strict=True):
        v = torch.randn(64, dtype=torch.float64, generator=generator)
        alpha, sigma = step.level.alpha, step.level.sigma
        ours = step.b * (ours + alpha * v) + step.d * (ours - sigma * v)
        theirs = scheduler.step(v, timestep, theirs).prev_sample.double()
    torch.testing.assert_close(ours, theirs, **ROUNDED)


def test_coefficients_of_flow_matching_are_eulers_step_exactly() -> None:
    """x' = x + (s' - s) v, in float64."""
    x, v = 0.7, -1.3
    levels = [1.0, 0.9, 0.55, 0.2, 0.0]
    steps = euler_steps(FlowSchedule(1000, 1.0, None), tuple(1000 * s for s in levels[:-1]))
    for step, (s, after) in zip(steps, itertools.pairwise(levels), strict=True):
        taken = step.b * (x + (1 - s) * v) + step.d * (x - s * v)
        assert taken == pytest.approx(x + (after - s) * v, abs=1e-15)


def test_a_moved_step_of_flow_matching_is_taken_at_its_own_level() -> None:
    schedule = FlowSchedule(1000, 3.0, None)
    own = sampler_timesteps(schedule, "euler", 4)
    assert own == (1000, 900, 750, 500)
    moved = moves(own, (201,), schedule)
    steps = sampler_steps(schedule, "euler", 4, moved)
    assert sampler_timesteps(schedule, "euler", 4, moved) == (1000, 900, 750, 201)
    assert (steps[-1].level.timestep, steps[-1].level.alpha, steps[-1].level.sigma) == (201, 1 - 0.201, 0.201)
    assert steps[-2].b == 0.201


@pytest.mark.parametrize("sampler", ["ddim", "dpmsolver++"])
def test_other_samplers_are_refused_for_flow_matching(sampler: str) -> None:
    message = rf"^{sampler.replace('+', '[+]')} does not sample a model of flow matching: choose euler$"
    with pytest.raises(UsageError, match=message):
        sampler_timesteps(FlowSchedule(1000, 3.0, None), sampler, 4)  # type: ignore[arg-type]


def test_steps_that_round_to_one_timestep_are_refused() -> None:
    message = "^900 inference steps of euler repeat a timestep: choose fewer steps$"
    with pytest.raises(UsageError, match=message):
        sampler_timesteps(FlowSchedule(1000, 3.0, None), "euler", 900)


@pytest.mark.parametrize("num_steps", [0, 1001])
def test_impossible_number_of_steps_is_refused(num_steps: int) -> None:
    with pytest.raises(UsageError, match=rf"^{num_steps} inference steps: the model has 1 to 1000$"):
        euler_timesteps(FlowSchedule(1000, 1.0, None), num_steps)


def by_v(step: SolverStep, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    alpha, sigma = step.level.alpha, step.level.sigma
    eps, denoised = alpha * v + sigma * x, alpha * x - sigma * v
    return step.a * x + step.b * eps + step.d * denoised
