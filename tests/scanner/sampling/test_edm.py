"""EDM's levels and steps against diffusers' `EDMEulerScheduler` and `EDMDPMSolverMultistepScheduler`.

There X = x / alpha is followed, and a network's answer F is preconditioned; here x with v, as a bundle's graphs give
it. A single step begins at the noisiest level here, also where diffusers' exponential one begins at the last.
"""

import numpy as np
import pytest
import torch
from diffusers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler

from memscan.export.checkpoint.edm import Preconditioning
from memscan.scanner.errors import UsageError
from memscan.scanner.sampling.samplers import moves, sampler_steps, sampler_timesteps
from memscan.scanner.sampling.schedule import noise_level
from memscan.scanner.schedules import EdmSchedule
from memscan.scanner.settings import Sampler

PLAYGROUND = {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "prediction_type": "epsilon"}
COSXL = {"sigma_max": 120.0, "sigma_data": 1.0, "prediction_type": "v_prediction", "sigma_schedule": "exponential"}
CONFIGURATIONS = [PLAYGROUND, COSXL]
IDS = ["playground", "cosxl"]
ROUNDED = {"rtol": 0, "atol": 2e-5}
"""diffusers keeps its levels and states in float32, and X begins at 80 or 120 times the noise."""


def schedule_of(scheduler: EDMEulerScheduler | EDMDPMSolverMultistepScheduler) -> EdmSchedule:
    config = scheduler.config
    return EdmSchedule(1000, config.sigma_min, config.sigma_max, config.sigma_schedule, config.rho)


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=IDS)
@pytest.mark.parametrize("num_steps", [2, 4, 30])
def test_levels_equal_diffusers(configuration: dict[str, object], num_steps: int) -> None:
    scheduler = EDMEulerScheduler(**configuration)
    scheduler.set_timesteps(num_steps)
    levels = [step.level for step in sampler_steps(schedule_of(scheduler), "euler", num_steps)]
    ratios = [level.sigma / level.alpha for level in levels]
    np.testing.assert_allclose(ratios, scheduler.sigmas[:-1].double(), rtol=1e-6)  # float32, its logarithm too
    # float32's rounding of log r
    np.testing.assert_allclose([level.timestep for level in levels], scheduler.timesteps.double(), atol=2e-7)
    assert all(level.alpha**2 + level.sigma**2 == pytest.approx(1, abs=1e-15) for level in levels)


@pytest.mark.parametrize("sampler", ["euler", "dpmsolver++"])
@pytest.mark.parametrize("num_steps", [2, 3, 20])
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=IDS)
def test_steps_equal_diffusers(configuration: dict[str, object], num_steps: int, sampler: Sampler) -> None:
    scheduler = {"euler": EDMEulerScheduler, "dpmsolver++": EDMDPMSolverMultistepScheduler}[sampler](**configuration)
    scheduler.set_timesteps(num_steps)
    edm = Preconditioning(configuration["sigma_data"], 1 if configuration["prediction_type"] == "epsilon" else -1)
    steps = sampler_steps(schedule_of(scheduler), sampler, num_steps)
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(1, 4, 4, 4, dtype=torch.float64, generator=generator)
    theirs, previous = ours * scheduler.init_noise_sigma, torch.zeros_like(ours)
    for index, (step, timestep) in enumerate(zip(steps, scheduler.timesteps, strict=True)):
        alpha, sigma = (torch.tensor([value], dtype=torch.float64) for value in (step.level.alpha, step.level.sigma))
        told = scheduler.scale_model_input(theirs, timestep)
        torch.testing.assert_close(edm.seen(ours, alpha, sigma), told.double(), **ROUNDED, msg=f"step {index}")
        answer = torch.randn(ours.shape, dtype=torch.float64, generator=generator)
        v = edm.to_v(answer, ours, alpha, sigma)
        eps, denoised = alpha * v + sigma * ours, alpha * ours - sigma * v
        ours = step.a * ours + step.b * eps + step.c * previous + step.d * denoised
        previous = denoised
        theirs = scheduler.step(answer, timestep, theirs).prev_sample.double()
    torch.testing.assert_close(ours, theirs, **ROUNDED)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_v_gives_the_preconditioned_image(sigma_data: float, sign: int) -> None:
    """d = c_skip X + c_out F, spelled out in float64 (Karras et al., Table 1)."""
    x, answer = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ratio = torch.tensor([0.01, 1.0, 50.0], dtype=torch.float64)
    alpha = 1 / (1 + ratio**2) ** 0.5
    sigma = ratio * alpha
    edm = Preconditioning(sigma_data, sign)
    r, a, s = (value[:, None, None, None] for value in (ratio, alpha, sigma))
    skip, out = sigma_data**2 / (r**2 + sigma_data**2), sign * r * sigma_data / (r**2 + sigma_data**2) ** 0.5
    expected = skip * x / a + out * answer
    torch.testing.assert_close(a * x - s * edm.to_v(answer, x, alpha, sigma), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(edm.seen(x, alpha, sigma), x / a / (r**2 + sigma_data**2) ** 0.5, rtol=1e-12, atol=0)


def test_a_step_moves_to_a_timestep_of_the_schedules_own_distances() -> None:
    schedule = EdmSchedule(1000, 0.002, 80.0, "karras", 7.0)
    own = sampler_timesteps(schedule, "euler", 5)
    assert own == (999, 749, 500, 250, 0)
    moved = moves(own, (201,), schedule)
    step = sampler_steps(schedule, "euler", 5, moved)[3]
    assert step.level == noise_level(schedule, 201)
    ramp = 1 - 201 / 999
    expected = (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert step.level.sigma / step.level.alpha == pytest.approx(expected, rel=1e-12)


def test_ddim_is_refused() -> None:
    message = r"^ddim does not sample a model of EDM's noise: choose euler or dpmsolver\+\+$"
    with pytest.raises(UsageError, match=message):
        sampler_timesteps(EdmSchedule(1000, 0.002, 80.0, "karras", 7.0), "ddim", 5)
