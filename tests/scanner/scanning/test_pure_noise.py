"""Paths that begin at pure noise, alpha = 0: a scan of the analytic bundle ends where diffusers' own scheduler ends.

The closed form gives what a network would predict there too: v = alpha eps - sigma d, or eps - d of flow matching.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import UsageError
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.model.graphs import open_graphs
from memscan.scanner.run.measurement import build_measurement, measured_steps
from memscan.scanner.run.request import Request
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.samples import Rejected, Sample
from memscan.scanner.sampling.noise import initial_latents
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
from memscan.scanner.scanning.scanner import Scanner
from memscan.scanner.schedules import DdpmSchedule, FlowSchedule, Schedule
from memscan.scanner.settings import Execution, Sampler
from tests.analytic_bundle import write_analytic_bundle
from tests.analytic_model import LATENT, analytic_model

PROMPT, SEED, GUIDANCE, STEPS = "a memorized red poster", 5, 2.5, 6
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ZERO_SNR = {**BETAS, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}


def zero_snr() -> DdpmSchedule:
    scheduler = DDIMScheduler(**ZERO_SNR)
    return DdpmSchedule(1000, tuple(scheduler.alphas_cumprod.double().tolist()), 0, True, "trailing")


def flow_scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=3.0)


SCHEDULERS: dict[str, tuple[Callable[[], Any], Callable[[], Schedule], Sampler]] = {
    "flow": (flow_scheduler, lambda: FlowSchedule(1000, 3.0, flow_scheduler().sigma_min), "euler"),
    "ddim": (lambda: DDIMScheduler(**ZERO_SNR, clip_sample=False), zero_snr, "ddim"),
    "dpmsolver++": (lambda: DPMSolverMultistepScheduler(**ZERO_SNR), zero_snr, "dpmsolver++"),
    "euler": (lambda: EulerDiscreteScheduler(**ZERO_SNR), zero_snr, "euler"),
}


def denoised(x: np.ndarray, prompt: str, alpha: float, sigma: float) -> np.ndarray:
    """E[x_0 | x] of the Gaussian coordinates."""
    model = analytic_model()
    variance, mean = model.variance(prompt), model.mean(prompt)
    return mean + alpha * variance / (alpha**2 * variance + sigma**2) * (x - alpha * mean)


def network(x: np.ndarray, alpha: float, sigma: float, *, flow: bool) -> np.ndarray:
    """What a guided network predicts."""
    model = analytic_model()

    def of(prompt: str) -> np.ndarray:
        eps, image = model.eps(x, prompt, alpha, sigma), denoised(x, prompt, alpha, sigma)
        return eps - image if flow else alpha * eps - sigma * image

    return of("") + GUIDANCE * (of(PROMPT) - of(""))


def end_by_diffusers(scheduler: Any) -> np.ndarray:
    scheduler.set_timesteps(STEPS)
    flow = isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
    noise = initial_latents([SEED], LATENT)[0].astype(np.float64)
    x = torch.from_numpy(noise) * (1.0 if flow else float(scheduler.init_noise_sigma))
    for index, timestep in enumerate(scheduler.timesteps):
        told = x if flow else scheduler.scale_model_input(x, timestep)
        alpha, sigma = level_of(scheduler, index, int(timestep))
        output = torch.from_numpy(network(told.double().numpy(), alpha, sigma, flow=flow))
        x = scheduler.step(output, timestep, x).prev_sample.double()
    return x.numpy()


def level_of(scheduler: Any, index: int, timestep: int) -> tuple[float, float]:
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        sigma = float(scheduler.sigmas[index])
        return 1 - sigma, sigma
    alpha_cumprod = float(scheduler.alphas_cumprod[timestep].double())
    return alpha_cumprod**0.5, (1 - alpha_cumprod) ** 0.5


def scanned(bundle: Bundle, sampler: Sampler) -> np.ndarray:
    graphs = open_graphs(bundle, Execution(provider="cpu"))
    ends: list[np.ndarray] = []
    decode = graphs.decode

    def keep(latents: Value) -> Any:
        ends.append(graphs.download(latents))
        return decode(latents)

    graphs.decode = keep  # type: ignore[method-assign]
    request = Request(
        sampler=sampler,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        steps=(STEPS - 1,),
        save_images=True,
    )
    measurement, _ = build_measurement(bundle, request)
    scanner = Scanner(bundle, graphs, measurement, BatchCeiling(1, lambda line: None))
    (prepared,) = scanner.prepare([Sample(0, SEED, PROMPT)])
    assert not isinstance(prepared, Rejected)
    list(scanner.scan([prepared]))
    return ends[0][0]


def bundle_of(path: Path, name: str) -> Bundle:
    _, schedule, sampler = SCHEDULERS[name]
    kind = "flow_prediction" if name == "flow" else "v_prediction"
    return write_analytic_bundle(
        path, schedule=schedule(), prediction_type=kind, sampler=sampler, timesteps=(201,), calibrated=False
    )


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_trajectory_equals_diffusers(name: str, tmp_path: Path) -> None:
    make, _, sampler = SCHEDULERS[name]
    bundle = bundle_of(tmp_path / "bundle", name)
    expected = end_by_diffusers(make())
    error = np.linalg.norm(scanned(bundle, sampler) - expected) / np.linalg.norm(expected)
    assert error < 1e-4


def test_the_noise_level_of_a_measured_step_is_the_samplers_own(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", "flow")
    measurement, _ = build_measurement(bundle, Request(num_inference_steps=28, steps=(9,)))
    (step,) = measured_steps(bundle, measurement)
    assert isinstance(bundle.schedule, FlowSchedule)
    u = np.linspace(1, bundle.schedule.sigma_min or 0, 28)[9]
    assert step.sigma == pytest.approx(3 * u / (1 + 2 * u), rel=1e-12)
    assert step.timestep == round(1000 * step.sigma)


@pytest.mark.parametrize(("name", "timestep"), [("flow", 1000), ("dpmsolver++", 999), ("ddim", 999)])
def test_pure_noise_is_not_measured(name: str, timestep: int, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", name)
    message = f"^timestep {timestep} is pure noise, whose curvature says nothing of an image: choose another$"
    for request in (Request(steps=(0,)), Request(timesteps=(timestep,))):
        with pytest.raises(UsageError, match=message):
            build_measurement(bundle, request)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_is_of_the_first_state_is_left_out(name: str, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", name)
    request = Request(num_inference_steps=STEPS, steps=(STEPS - 1,), metrics=("all",))
    measurement, _ = build_measurement(bundle, request)
    assert {"guidance_norm", "ds_path", "late_cosine"} <= {*measurement.metrics}
    assert not [name for name in measurement.metrics if METRICS[name].needs_signal]
