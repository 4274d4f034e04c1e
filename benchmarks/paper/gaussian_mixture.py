"""A mixture of axis-aligned Gaussians under diffusion: its exact noise prediction and collapse, by differentiation.

At x_t = alpha x_0 + sigma noise, component c of the data is again Gaussian, and p_t is their mixture:

    p(x_t | c) = N(alpha m_c, alpha^2 v_c + sigma^2)      p(c | x_t) proportional to w_c p(x_t | c)
    eps = -sigma grad log p          h = -sigma^2 diag(Hessian of log p)

h of the mixture is differentiated twice from log p, and nothing is assumed about it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from memscan.scanner.sampling.schedule import Level


@dataclass(frozen=True)
class GaussianMixture:
    """Weights [M], means and variances [M, n] of the data, float64."""

    weights: Tensor
    means: Tensor
    variances: Tensor

    def eps_of_each(self, x: Tensor, level: Level) -> Tensor:
        """The noise prediction given each component, [N, M, n], at x [N, n]."""
        return level.sigma * (x[:, None] - level.alpha * self.means) / self._noisy_variances(level)

    def collapse_of_each(self, level: Level) -> Tensor:
        """h given each component, [M, n]: the same everywhere."""
        return level.sigma**2 / self._noisy_variances(level)

    def posterior(self, x: Tensor, level: Level) -> Tensor:
        """p(c | x_t), [N, M], at x [N, n]."""
        return torch.softmax(self._log_terms(x, level), dim=-1)

    def eps(self, x: Tensor, level: Level) -> Tensor:
        """The noise prediction of the mixture, [N, n]."""
        gradient = torch.func.grad(lambda one: self._log_terms(one, level).logsumexp(-1))
        return -level.sigma * torch.vmap(gradient)(x)

    def collapse(self, x: Tensor, level: Level) -> Tensor:
        """h of the mixture, [N, n]."""
        hessian = torch.func.hessian(lambda one: self._log_terms(one, level).logsumexp(-1))
        return -(level.sigma**2) * torch.vmap(hessian)(x).diagonal(dim1=-2, dim2=-1)

    def sample(self, count: int, level: Level, seed: int) -> tuple[Tensor, Tensor]:
        """x_t [N, n] and the component [N] that each was drawn from."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        spread = self._noisy_variances(level)[chosen].sqrt()
        return level.alpha * self.means[chosen] + spread * noise, chosen

    def _noisy_variances(self, level: Level) -> Tensor:
        return level.alpha**2 * self.variances + level.sigma**2

    def _log_terms(self, x: Tensor, level: Level) -> Tensor:
        """log w_c p(x_t | c) but for a constant, [..., M], at x [..., n]."""
        variances = self._noisy_variances(level)
        squares = (x[..., None, :] - level.alpha * self.means).square() / variances + variances.log()
        return self.weights.log() - squares.sum(-1) / 2
