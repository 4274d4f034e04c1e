"""Every metric of the catalogue against a literal transcription of its paper's formula, on the analytic bundle.

A transcription is a function of this file with the metric's name: the value at step i of an image's way.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.metrics.catalogue import MAPS, METRICS, SCORES
from memscan.scanner.metrics.distances import distances
from memscan.scanner.settings import Reference
from tests.analytic_model import MAX_LENGTH
from tests.scanner.metrics.way import Way, way_of
from tests.scanner.scanning.closed_form import SAMPLES, SETTINGS, TIMESTEPS, at_steps, run, scanned
from tests.scanner.scanning.one_by_one import Image

STEPS = (0, 1, 2, 7, 9)
ROUNDING = 1e-5
"""Of float32, relative to a map's largest value: of eps after at most ten steps, and of sums over 256 coordinates."""


def dh_uncond(way: Way, i: int) -> NDArray[np.float64]:
    """Kim and Lee, Eq. 1: diag(-H(x, c)) - diag(-H(x)), the mean over channels times sigma^2."""
    sigma = way.levels[i][1]
    difference = -way.hessian(way.model, i, way.prompt) + way.hessian(way.model, i, "")
    return sigma**2 * difference.mean(axis=0)


def dh_base(way: Way, i: int) -> NDArray[np.float64]:
    """Eq. 2: the same against the less-trained model."""
    sigma = way.levels[i][1]
    difference = -way.hessian(way.model, i, way.prompt) + way.hessian(way.early, i, way.prompt)
    return sigma**2 * difference.mean(axis=0)


def ds_uncond(way: Way, i: int) -> NDArray[np.float64]:
    """Eq. 5: (s(x, c) - s(x))^2."""
    sigma = way.levels[i][1]
    return sigma**2 * ((way.score(way.model, i, way.prompt) - way.score(way.model, i, "")) ** 2).mean(axis=0)


def ds_base(way: Way, i: int) -> NDArray[np.float64]:
    """Eq. 6: (s(x, c) - s_base(x, c))^2."""
    sigma = way.levels[i][1]
    difference = way.score(way.model, i, way.prompt) - way.score(way.early, i, way.prompt)
    return sigma**2 * (difference**2).mean(axis=0)


def h_cond(way: Way, i: int) -> NDArray[np.float64]:
    """diag(-H(x, c)) alone."""
    return way.levels[i][1] ** 2 * -way.hessian(way.model, i, way.prompt).mean(axis=0)


def dh_pad(way: Way, i: int) -> NDArray[np.float64]:
    """The same against the prompt whose padding says nothing."""
    sigma = way.levels[i][1]
    silent = way.model.without_padding(way.prompt)
    difference = -way.hessian(way.model, i, way.prompt) + way.hessian(silent, i, way.prompt)
    return sigma**2 * difference.mean(axis=0)


def bright_ending(way: Way, i: int) -> NDArray[np.float64]:
    """Chen et al.: the attention of each position to the last token."""
    return way.model.attention(way.z[i], way.prompt)[:, :, -1]


def attention_entropy(way: Way, i: int) -> float:
    """Ren et al.: the sum of -a log a over tokens, a being the mean attention to each."""
    tokens = way.model.attention(way.z[i], way.prompt).reshape(-1, MAX_LENGTH).mean(axis=0)
    return float(-sum(a * np.log(a) for a in tokens))


def bottleneck_spread(way: Way, i: int) -> float:
    """Zhang et al.: the standard deviation of the representation, without a prompt."""
    return float(np.std(way.model.bottleneck(way.z[i], "").ravel()))


def condition_jacobian(way: Way, i: int) -> float:
    """The norm of d eps / d lambda where the text is (1 - lambda) no prompt's + lambda the prompt's, at lambda = 1."""
    step = 1e-5
    ends = [way.model.toward(1 + side * step).eps(way.z[i], way.prompt, *way.levels[i]) for side in (1, -1)]
    return float(np.linalg.norm((ends[0] - ends[1]).ravel()) / (2 * step))


def guidance_norm(way: Way, i: int) -> float:
    """Wen et al.: the mean over the steps of the 2-norm of eps(x_t, e_p) - eps(x_t, e_empty)."""
    return float(np.mean([np.linalg.norm((way.eps(j, way.prompt) - way.eps(j, "")).ravel()) for j in range(i + 1)]))


def guidance_first(way: Way, i: int) -> float:
    """Wen et al., with one step."""
    return float(np.linalg.norm((way.eps(0, way.prompt) - way.eps(0, "")).ravel()))


def update_norm(way: Way, i: int) -> float | None:
    """Huang et al.: d_t = z_t - z_(t+1); the mean of its 2-norm over the steps taken."""
    return float(np.mean([np.linalg.norm((way.z[j] - way.z[j + 1]).ravel()) for j in range(i)])) if i else None


def flipd(way: Way, i: int) -> float:
    """Kamkari et al.: D + sigma(t)^2 (tr ds/dx + |s|^2) at psi(t) x_0; here x_0 = (x_t - sigma eps) / psi."""
    psi, sigma = way.levels[i]
    x_0 = (way.z[i] - sigma * way.eps(i, way.prompt)) / psi
    s = way.score(way.model, i, way.prompt, psi * x_0)
    trace = (way.score(way.model, i, way.prompt, psi * x_0 + 1) - s).sum()
    return float(x_0.size + sigma**2 * (trace + (s**2).sum()))


def ds_path(way: Way, i: int) -> NDArray[np.float64]:
    """Eq. 5 at every step so far, in the collapse unit: the mean."""
    return np.mean([ds_uncond(way, j) for j in range(i + 1)], axis=0)


def cosine_uncond(way: Way, i: int) -> NDArray[np.float64]:
    """Asthana: torch's cosine over channels of eps_0 and eps_c - eps_0, as in their code."""
    return cosine(way.eps(i, ""), way.eps(i, way.prompt))


def late_cosine(way: Way, i: int) -> float:
    """Asthana: its mean over cells at x_T, told the last but two of fifty timesteps, 41 of 1000."""
    return float(cosine(*(way.model.eps(way.z[0], text, *way.late) for text in ("", way.prompt))).mean())


def anisotropy(way: Way, i: int) -> float:
    """Asthana: gamma_1 norm + gamma_2 cosine with (1, 2), theirs for Stable Diffusion 1."""
    return guidance_first(way, i) + 2 * late_cosine(way, i)


def update_last(way: Way, i: int) -> float | None:
    """Huang et al.: d_t of the last step taken."""
    return float(np.linalg.norm((way.z[i - 1] - way.z[i]).ravel())) if i else None


def update_z(way: Way, i: int) -> float | None:
    """Huang et al.: max over the steps of | |d_t| - mu_t | / sd_t."""
    norms = [float(np.linalg.norm((way.z[j] - way.z[j + 1]).ravel())) for j in range(i)]
    return max((abs(norm - MU[j]) / SD[j] for j, norm in enumerate(norms)), default=None)


def dsm(way: Way, i: int) -> float | None:
    """DSM (1 -> 2): the change of eps_c - eps_0 from the sampler's second step to its third."""
    gaps = [torch.from_numpy(way.eps(j, way.prompt) - way.eps(j, "")) for j in range(3)]
    return float(torch.linalg.vector_norm(gaps[2] - gaps[1])) if i >= 2 else None


def dcs(way: Way, i: int) -> float:
    """Webster: ((z0 - latents)^2).mean(), z0 the noise of k-diffusion, x_T / alpha, and latents its guided denoised."""
    alpha, _ = way.levels[0]
    return float(((way.z[0] / alpha - way.denoised(0)) ** 2).mean())


def one_step_error(way: Way, i: int) -> float | None:
    """The root mean square of the difference of two guided denoised estimates."""
    return float(((way.denoised(0) - way.denoised(i)) ** 2).mean() ** 0.5) if i else None


def sharpness(way: Way, i: int) -> float:
    """Jeon et al.: |(H_c - H_0)(s_c - s_0)| at the first step, in the unit of eps: by torch's forward mode."""
    guidance = torch.from_numpy(way.eps(0, way.prompt) - way.eps(0, ""))
    return float(torch.linalg.vector_norm(product(way, way.prompt, guidance) - product(way, "", guidance)))


def hessian_score(way: Way, i: int) -> float:
    """Metric 2: |H_c s_c - H_0 s_0|, each the gradient of half the squared norm of its eps."""
    own = [product(way, text, torch.from_numpy(way.eps(0, text))) for text in (way.prompt, "")]
    return float(torch.linalg.vector_norm(own[0] - own[1]))


def cosine(uncond: NDArray[np.float64], cond: NDArray[np.float64]) -> NDArray[np.float64]:
    zero, full = torch.from_numpy(uncond), torch.from_numpy(cond)
    return torch.nn.functional.cosine_similarity(zero, full - zero, dim=0).numpy()


def product(way: Way, text: str, v: torch.Tensor) -> torch.Tensor:
    """J v at x_T; eps is affine in x, so that torch differentiates it through its slope and offset."""
    offset, beside = (torch.from_numpy(way.eps(0, text, x)) for x in (np.zeros_like(way.z[0]), np.ones_like(way.z[0])))
    return torch.func.jvp(lambda x: offset + (beside - offset) * x, (torch.from_numpy(way.z[0]),), (v,))[1]


MU, SD = np.linspace(2.0, 5.0, 9), np.linspace(0.5, 2.0, 9)
"""A reference of `update_z`, at the nine steps that lead to the last measured state."""


@pytest.fixture(scope="module")
def bundle(analytic: Path) -> Bundle:
    return open_bundle(analytic)


@pytest.fixture(scope="module")
def images(bundle: Bundle) -> list[Image]:
    reference = Reference("update_z", TIMESTEPS[:9], tuple(MU.tolist()), tuple(SD.tolist()))
    settings = dataclasses.replace(SETTINGS, steps=at_steps(*STEPS), metrics=tuple(METRICS), references=(reference,))
    return [scanned(result) for result in run(bundle, SAMPLES, settings)]


def transcription(name: str) -> Callable[[Way, int], NDArray[np.float64] | float | None]:
    written = globals().get(name)
    assert callable(written), f"the metric {name} needs a literal transcription of its formula in this file"
    return written


@pytest.mark.parametrize("name", MAPS)
def test_map_equals_its_formula(name: str, bundle: Bundle, images: list[Image]) -> None:
    formula = transcription(name)
    for image in images:
        way = way_of(bundle, image.sample)
        for i, step in zip(STEPS, image.steps, strict=True):
            expected = np.asarray(formula(way, i))
            scale = max(abs(expected).max(), 1.0)
            np.testing.assert_allclose(step.maps[name], expected, rtol=0, atol=ROUNDING * scale, err_msg=f"step {i}")


@pytest.mark.parametrize("name", SCORES)
def test_score_equals_its_formula(name: str, bundle: Bundle, images: list[Image]) -> None:
    formula = transcription(name)
    for image in images:
        way = way_of(bundle, image.sample)
        for i, step in zip(STEPS, image.steps, strict=True):
            expected = formula(way, i)
            assert (name in step.scores) == (expected is not None)
            if expected is not None:
                scale = 256 if name == "flipd" else 1  # a dimension is what is left of 256
                assert step.scores[name] == pytest.approx(expected, rel=ROUNDING, abs=ROUNDING * scale)


def test_every_metric_says_what_it_is_and_where_its_formula_is_from() -> None:
    assert list(METRICS) == [metric.name for metric in METRICS.values()]
    for metric in METRICS.values():
        assert metric.says
        assert len(metric.says) <= 60  # one line beside the name, in a terminal
        assert any(character.isdigit() for character in metric.source), f"{metric.name}: a paper has a year"
        assert (metric.unit is not None) == (metric.kind == "map")


def test_flipd_tells_a_copied_prompt_by_its_low_dimension_and_would_not_at_a_noisy_state(bundle: Bundle) -> None:
    """At x_t the trace and |s|^2 cancel in expectation, whatever the distribution: the formula would say D for all."""
    copied, free = (way_of(bundle, SAMPLES[i]) for i in (2, 5))  # "a copied rug", and no words at all
    assert flipd(copied, 9) < 20 < flipd(free, 9)
    alpha, sigma = copied.levels[9]
    noise = np.random.default_rng(0).standard_normal((400, *copied.z[0].shape))
    variance, mean = copied.model.variance(copied.prompt), copied.model.mean(copied.prompt)
    x = alpha * (mean + np.sqrt(variance) * np.random.default_rng(1).standard_normal(noise.shape)) + sigma * noise
    squared = sigma**2 * (copied.score(copied.model, 9, copied.prompt, x) ** 2).sum(axis=(1, 2, 3))
    at_state = x[0].size + sigma**2 * copied.hessian(copied.model, 9, copied.prompt).sum() + squared
    assert abs(at_state.mean() - 256) < 4 * at_state.std() / 20  # 4 standard errors of 400 draws


@pytest.mark.parametrize("shape", [(5, 4, 16, 16), (2, 4, 64, 64), (1, 1, 1, 1), (0, 4, 8, 8)], ids=str)
def test_distances_are_those_of_float64_to_a_unit_in_the_last_place_of_float32(shape: tuple[int, ...]) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    expected = np.sqrt(np.square(a.astype(np.float64) - b).sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(distances(a, b), expected, rtol=2**-23, strict=True)
