"""Products of curvature and score at the sampler's first step: what memorization sharpens there already.

With J = d eps / d x, whose sign and scale at a fixed noise level are those of -H, and eps in place of the score:

    sharpness       |(J_c - J_0)(eps_c - eps_0)|    Jeon et al.: how sharply the guidance changes along itself
    hessian_score   |J_c eps_c - J_0 eps_0|         "Metric 2": each condition's own product

The papers differentiate backwards, J^T v; for a true score J is symmetric, and J v the same.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.distances import distances
from memscan.scanner.metrics.metric import Answers, Ask, Direction, Metric
from memscan.scanner.sampling.schedule import Level


def _metric(name: str, along: Direction, says: str, source: str) -> Metric:
    asks = (Ask("product", "prompt", along=along), Ask("product", "none", along=along))

    def norm(answers: Answers, level: Level) -> NDArray[np.float64]:
        return distances(*(answers[ask] for ask in asks))

    return Metric(
        name=name,
        kind="score",
        when="first",
        asks=asks,
        compute=norm,
        says=says,
        source=source,
        needs_signal=True,
        default=False,
    )


GUIDANCE = _metric(
    "sharpness",
    "guidance",
    "curvature along the prompt's pull, at the first step",
    "Jeon et al., ICML 2025 (arXiv 2412.04140)",
)
OWN = _metric(
    "hessian_score",
    "own",
    "curvature times score, less that without a prompt, there",
    "Early Detection of Memorization in Diffusion Models, ICML 2026, Metric 2",
)
