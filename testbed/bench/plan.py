"""The exact epoch plan: every exposure once, shuffled; nothing is drawn by chance but the order."""

from dataclasses import dataclass

import torch

from testbed.bench.pool import Pool
from testbed.denoiser import BATCH, Batch, draw_timesteps


@dataclass(frozen=True)
class Plan:
    """The exposures of a training in the order in which they are shown.

    Attributes:
        pool: what is shown.
        order: [E], a permutation of the pool's exposures.
        dropout: [texts], probability that a caption is dropped; the text of a dropped one is len(dropout).
        size: exposures in a batch.
    """

    pool: Pool
    order: torch.Tensor
    dropout: torch.Tensor
    size: int = BATCH

    @classmethod
    def of(cls, pool: Pool, dropout: torch.Tensor, seed: int, size: int = BATCH) -> "Plan":
        """Shuffle a pool by a seed; the order does not depend on the dropout."""
        order = torch.randperm(len(pool.texts), generator=torch.Generator().manual_seed(seed))
        return cls(pool, order, dropout, size)

    def batch(self, step: int, generator: torch.Generator) -> Batch:
        """What step `step`, counted from 1, shows; dropped captions and timesteps are drawn."""
        shown = self.order[(step - 1) * self.size : step * self.size]
        texts = self.pool.texts[shown]
        dropped = torch.rand(len(shown), generator=generator) < self.dropout[texts]
        return Batch(
            self.pool.latents[self.pool.pictures[shown]],
            torch.where(dropped, len(self.dropout), texts),
            draw_timesteps(len(shown), generator),
        )
