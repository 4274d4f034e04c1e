"""The estimator and the maps against literal transcriptions of the paper's formulas, on a dense random Jacobian."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from memscan.scanner.metrics.catalogue import MAPS, METRICS
from memscan.scanner.metrics.curvature import H_COND
from memscan.scanner.metrics.hutchinson import estimate, probe_groups
from memscan.scanner.metrics.metric import Ask
from memscan.scanner.metrics.probes import make_probes
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.settings import Probes

LATENT = (4, 3, 5)
SIZE = 60
SIGMA = 0.3
LEVEL = Level(100.0, (1 - SIGMA**2) ** 0.5, SIGMA)


class LinearDenoiser:
    """eps = J x for N = 1, behind the interface of measure.onnx; counts its calls."""

    def __init__(self, jacobian: NDArray[np.float64], x: NDArray[np.float64]) -> None:
        self.jacobian, self.x, self.calls = jacobian, x, 0

    def __call__(self, tangents: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.calls += 1
        vectors = tangents.reshape(len(tangents), SIZE).astype(np.float64)
        v_dot_jv = (vectors * (vectors @ self.jacobian.T)).sum(axis=0)
        eps = self.jacobian @ self.x
        return eps.reshape(1, *LATENT).astype(np.float32), v_dot_jv.reshape(1, *LATENT).astype(np.float32)


def denoiser(seed: int) -> LinearDenoiser:
    random = np.random.default_rng(seed)
    return LinearDenoiser(random.standard_normal((SIZE, SIZE)) / 4, np.random.default_rng(99).standard_normal(SIZE))


def exact_denoiser(seed: int) -> LinearDenoiser:
    """A score is a gradient, so its Jacobian is symmetric, and J v equals the paper's J^T v."""
    model = denoiser(seed)
    return LinearDenoiser((model.jacobian + model.jacobian.T) / 2, model.x)


def paper_diagonal_of_negative_hessian(model: LinearDenoiser, probes: NDArray[np.float32]) -> torch.Tensor:
    """diag(-H) by the paper's estimator: reverse mode, one probe at a time, score = -eps / sigma."""
    jacobian = torch.from_numpy(model.jacobian)
    total = torch.zeros(SIZE, dtype=torch.float64)
    for probe in torch.from_numpy(probes.reshape(len(probes), SIZE)).double():
        x = torch.from_numpy(model.x).requires_grad_()
        score = -(jacobian @ x) / SIGMA
        (product,) = torch.autograd.grad(score, x, probe)
        total += probe * product
    return -total / len(probes)


@pytest.mark.parametrize("group", [1, 3, 8, 16])
@pytest.mark.parametrize("count", [1, 5, 8])
def test_estimate_is_the_mean_over_probes_however_they_are_grouped(count: int, group: int) -> None:
    model, probes = denoiser(0), make_probes(Probes("rademacher", count), LATENT)
    groups = probe_groups(probes, group)
    assert groups.shape == (-(-count // group), group, *LATENT)
    response = estimate(model, groups, count)
    expected = np.mean([v * (model.jacobian @ v) for v in probes.reshape(count, SIZE).astype(np.float64)], axis=0)
    np.testing.assert_allclose(response.diagonal.ravel(), expected, atol=1e-6)
    np.testing.assert_allclose(response.eps.ravel(), model.jacobian @ model.x, atol=1e-6)
    assert model.calls == len(groups)


def test_estimate_of_a_diagonal_jacobian_has_no_error() -> None:
    diagonal = np.random.default_rng(1).standard_normal(SIZE)
    response = estimate(
        LinearDenoiser(np.diag(diagonal), np.zeros(SIZE)),
        probe_groups(make_probes(Probes("rademacher", 1), LATENT), 8),
        1,
    )
    np.testing.assert_array_equal(response.diagonal.ravel(), diagonal.astype(np.float32))


def test_estimate_is_unbiased() -> None:
    model, count = denoiser(2), 4000
    probes = make_probes(Probes("rademacher", count), LATENT)
    vectors = probes.reshape(count, SIZE).astype(np.float64)
    standard_error = (vectors * (vectors @ model.jacobian.T)).std(axis=0, ddof=1) / np.sqrt(count)
    error = estimate(model, probe_groups(probes, 1000), count).diagonal.ravel() - np.diag(model.jacobian)
    assert (abs(error) < 4 * standard_error).all()  # 60 coordinates: all within 4 SE in 99.6% of draws, this one fixed


def test_maps_equal_the_papers_formulas_in_the_collapse_unit() -> None:
    probes = make_probes(Probes("rademacher", 6), LATENT)
    models = [exact_denoiser(seed) for seed in (3, 4, 5)]
    answers = {}
    for condition, model in zip(("prompt", "none", "baseline"), models, strict=True):
        response = estimate(model, probe_groups(probes, 4), 6)
        answers |= {Ask("eps", condition): response.eps, Ask("diagonal", condition): response.diagonal}

    curvature = [paper_diagonal_of_negative_hessian(model, probes) for model in models]
    score = [-torch.from_numpy(model.jacobian @ model.x) / SIGMA for model in models]
    raw = {
        "dh_uncond": curvature[0] - curvature[1],  # Eq. 1
        "dh_base": curvature[0] - curvature[2],  # Eq. 2
        "ds_uncond": (score[0] - score[1]) ** 2,  # Eq. 5
        "ds_base": (score[0] - score[2]) ** 2,  # Eq. 6
        "h_cond": curvature[0],
    }
    assert set(raw) == {name for name in MAPS if METRICS[name].source.startswith("Kim and Lee")} - {"ds_path"}
    for name, values in raw.items():
        expected = (values.reshape(LATENT).mean(0) * SIGMA**2).numpy()
        found = METRICS[name].compute(answers, LEVEL)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[0], expected, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(("variance", "collapse"), [(0.0, 1.0), (1.0, SIGMA**2)], ids=["point mass", "unit Gaussian"])
def test_collapse_is_one_without_variance_and_the_noise_share_of_a_free_coordinate(
    variance: float, collapse: float
) -> None:
    # alpha^2 + sigma^2 = 1, so the exact h = sigma^2 / (alpha^2 s^2 + sigma^2) is sigma^2 at s = 1.
    alpha_squared = 1 - SIGMA**2
    diagonal = np.full((1, *LATENT), SIGMA / (alpha_squared * variance + SIGMA**2), np.float32)
    answers = {Ask("diagonal", "prompt"): diagonal}
    np.testing.assert_allclose(H_COND.compute(answers, LEVEL), collapse, rtol=1e-6)
