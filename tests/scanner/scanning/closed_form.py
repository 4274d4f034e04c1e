"""What a scan of the analytic bundle must find: torch's noise, DDIM written out in float64, the model's closed form."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.model.graphs import open_graphs
from memscan.scanner.samples import Rejected, Sample
from memscan.scanner.sampling.ddim import ddim_timesteps
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
from memscan.scanner.scanning.scanner import Scanner
from memscan.scanner.settings import Execution, Measurement, Probes, Step
from tests.analytic_model import LATENT, analytic_model
from tests.default_maps import MAPS
from tests.scanner.scanning.one_by_one import Image, scan_one_by_one


def at_steps(*indices: int) -> tuple[Step, ...]:
    """Measured steps, whose thresholds do not matter to a scan."""
    return tuple(Step(index, 0.1, False) for index in indices)


SETTINGS = Measurement(
    num_inference_steps=10,
    guidance_scale=2.5,
    steps=at_steps(0, 7, 9),
    probes=Probes(),
    metrics=MAPS,
    mask_map="dh_uncond",
    score_name="dh_uncond_mean",
)
TIMESTEPS = (901, 801, 701, 601, 501, 401, 301, 201, 101, 1)
"""Of `SETTINGS`."""
SAMPLES = [
    Sample(row, seed, prompt)
    for row, (prompt, seed) in enumerate(
        [
            ("a memorized poster", 0),
            ("a red phone case", 1),
            ("a copied rug", 2**32 + 7),
            ("a hazy memorized blue city", 3),
            ("unknown words only", 4),
            ("", 5),
            ("a poster of a city of a forest of a memorized mug", 6),
            ("a memorized poster", 7),
        ]
    )
]
FLOAT32 = 5e-6
"""Float32 rounding, relative to the value or to 1: of h, and of eps after at most ten sampler steps."""


def on_bundle(settings: Measurement, bundle: Bundle) -> Measurement:
    """Settings without the metrics that need a baseline, where the bundle has none."""
    possible = (name for name in settings.metrics if bundle.has_baseline or not METRICS[name].needs_baseline)
    return dataclasses.replace(settings, metrics=tuple(possible))


def run(
    bundle: Bundle, samples: list[Sample], settings: Measurement = SETTINGS, batch_size: int = 8
) -> list[Image | Rejected]:
    engine = open_graphs(bundle, Execution(threads=1, provider="cpu"))
    scanner = Scanner(bundle, engine, on_bundle(settings, bundle), BatchCeiling(batch_size, pytest.fail))
    return scan_one_by_one(scanner, samples)


def scanned(result: Image | Rejected) -> Image:
    assert isinstance(result, Image), result
    return result


def level(bundle: Bundle, timestep: int) -> tuple[float, float]:
    alpha_cumprod = bundle.schedule.alphas_cumprod[timestep]
    return alpha_cumprod**0.5, (1 - alpha_cumprod) ** 0.5


def torch_noise(seed: int) -> NDArray[np.float64]:
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn((1, *LATENT), generator=generator).numpy()[0].astype(np.float64)


def sampled_states(bundle: Bundle, sample: Sample, guidance: float) -> list[NDArray[np.float64]]:
    """x before each step and at the end, by the DDIM formula with x_0 and the direction spelled out."""
    model = analytic_model()
    x = torch_noise(sample.seed)
    states = [x]
    for timestep in ddim_timesteps(bundle.schedule, SETTINGS.num_inference_steps):
        alpha, sigma = level(bundle, timestep)
        eps_c, eps_0 = model.eps(x, sample.prompt, alpha, sigma), model.eps(x, "", alpha, sigma)
        eps = eps_0 + guidance * (eps_c - eps_0)
        next_alpha, next_sigma = level(bundle, max(timestep - 100, 0))
        x = next_alpha * (x - sigma * eps) / alpha + next_sigma * eps
        states.append(x)
    return states


def expected_maps(bundle: Bundle, x: NDArray[np.float64], prompt: str, timestep: int) -> dict[str, NDArray[np.float64]]:
    alpha, sigma = level(bundle, timestep)
    model, early = analytic_model(), analytic_model("baseline", own_text_encoder=bundle.baseline_has_text_encoder)
    h_c, h_0, h_b = (
        denoiser.collapse(text, alpha, sigma) for denoiser, text in [(model, prompt), (model, ""), (early, prompt)]
    )
    eps_c, eps_0, eps_b = (
        denoiser.eps(x, text, alpha, sigma) for denoiser, text in [(model, prompt), (model, ""), (early, prompt)]
    )
    maps = {
        "dh_uncond": h_c - h_0,
        "dh_base": h_c - h_b,
        "ds_uncond": (eps_c - eps_0) ** 2,
        "ds_base": (eps_c - eps_b) ** 2,
        "h_cond": h_c,
    }
    return {name: values.mean(axis=0) for name, values in maps.items()}


def assert_maps_equal(result: Image, expected: list[dict[str, NDArray[np.float64]]]) -> None:
    assert len(result.steps) == len(expected)
    for step, maps in zip(result.steps, expected, strict=True):
        assert step.error is None
        assert tuple(step.maps) == MAPS
        for name, values in maps.items():
            assert step.maps[name].dtype == np.float32
            np.testing.assert_allclose(step.maps[name], values, rtol=FLOAT32, atol=FLOAT32, err_msg=name)
