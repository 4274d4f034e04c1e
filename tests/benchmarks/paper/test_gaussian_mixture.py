"""The mixture's noise prediction and collapse against differences of its density and the one-component closed form."""

import torch
from torch import Tensor

from benchmarks.paper.gaussian_mixture import GaussianMixture
from memscan.scanner.sampling.schedule import Level

LEVEL = Level(201, 0.8, 0.6)
MIXTURE = GaussianMixture(
    torch.tensor([0.3, 0.7], dtype=torch.float64),
    torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.5, 2.0]], dtype=torch.float64),
    torch.tensor([[0.0, 1.0, 0.5], [2.0, 0.1, 1.0]], dtype=torch.float64),
)
X = torch.tensor([[0.2, -0.3, 1.0], [0.9, -0.8, 0.1]], dtype=torch.float64)


def log_density(x: Tensor) -> Tensor:
    """Written by torch.distributions, not by the mixture."""
    spread = (LEVEL.alpha**2 * MIXTURE.variances + LEVEL.sigma**2).sqrt()
    terms = torch.distributions.Normal(LEVEL.alpha * MIXTURE.means, spread).log_prob(x[:, None]).sum(-1)
    return (MIXTURE.weights.log() + terms).logsumexp(-1)


def test_eps_is_the_score_times_minus_sigma() -> None:
    step = 1e-5
    for i in range(3):
        shift = step * torch.eye(3, dtype=torch.float64)[i]
        score = (log_density(X + shift) - log_density(X - shift)) / (2 * step)
        torch.testing.assert_close(MIXTURE.eps(X, LEVEL)[:, i], -LEVEL.sigma * score, rtol=1e-8, atol=1e-9)


def test_collapse_is_sigma_times_the_derivative_of_eps() -> None:
    step = 1e-5
    for i in range(3):
        shift = step * torch.eye(3, dtype=torch.float64)[i]
        slope = (MIXTURE.eps(X + shift, LEVEL) - MIXTURE.eps(X - shift, LEVEL))[:, i] / (2 * step)
        torch.testing.assert_close(MIXTURE.collapse(X, LEVEL)[:, i], LEVEL.sigma * slope, rtol=1e-8, atol=1e-9)


def test_one_component_is_its_closed_form() -> None:
    alone = GaussianMixture(torch.ones(1, dtype=torch.float64), MIXTURE.means[:1], MIXTURE.variances[:1])
    torch.testing.assert_close(alone.eps(X, LEVEL), alone.eps_of_each(X, LEVEL)[:, 0])
    torch.testing.assert_close(alone.collapse(X, LEVEL), alone.collapse_of_each(LEVEL).expand_as(X))


def test_draws_come_from_their_components() -> None:
    x, drawn = MIXTURE.sample(4000, LEVEL, seed=0)
    assert abs((drawn == 1).double().mean() - 0.7) < 4 * (0.21 / 4000) ** 0.5
    spread = (LEVEL.alpha**2 * MIXTURE.variances + LEVEL.sigma**2).sqrt()
    standard = (x - LEVEL.alpha * MIXTURE.means[drawn]) / spread[drawn]
    assert standard.mean(0).abs().max() < 4 / 4000**0.5
    assert (standard.std(0) - 1).abs().max() < 4 / (2 * 4000) ** 0.5
