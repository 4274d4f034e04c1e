"""Which of many p-values are discoveries at a rate of false discoveries (Benjamini and Hochberg, 1995).

With m hypotheses and the p-values in ascending order, the discoveries are the k smallest for the greatest k such that

    p_(k) <= fdr k / m

and the q-value of p_(i) is the least rate at which it is one: min over j >= i of m p_(j) / j. Conformal p-values that
share their clean scores depend on each other in the way that the procedure allows (Bates et al., Annals of Statistics,
2023). There are few distinct ones, so that counting them takes the memory of none.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Discoveries:
    """At most `threshold` is a discovery, None where nothing is; `count` of them; `q_values` by p-value."""

    threshold: float | None
    count: int
    q_values: Mapping[float, float]


def discoveries(counts: Mapping[float, int], hypotheses: int, rate: float) -> Discoveries:
    """The discoveries among p-values that occur so many times each.

    Args:
        hypotheses: m, at least as many as there are p-values: those without one have failed to be a discovery.
    """
    ascending = np.array(sorted(counts))
    ranks = np.cumsum([counts[p] for p in ascending])
    q_values: NDArray[np.float64] = np.minimum.accumulate((hypotheses * ascending / np.maximum(ranks, 1))[::-1])[::-1]
    good = int(np.count_nonzero(q_values <= rate))
    return Discoveries(
        threshold=float(ascending[good - 1]) if good else None,
        count=int(ranks[good - 1]) if good else 0,
        q_values=dict(zip(ascending.tolist(), np.minimum(q_values, 1.0).tolist(), strict=True)),
    )
