"""Wen's guidance norm, |eps_c - eps_0|: how far the prompt pulls the prediction, in the norm of the whole latent.

Both predictions are made at every guided step, so it costs nothing. The paper takes the mean over the steps, and notes
that the first step alone nearly suffices.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.distances import distances
from memscan.scanner.metrics.metric import Answers, Ask, Metric
from memscan.scanner.sampling.schedule import Level

_SOURCE = "Wen et al., ICLR 2024, Sec. 3.3"
_ASKS = (Ask("eps", "prompt"), Ask("eps", "none"))


def _norm(answers: Answers, level: Level) -> NDArray[np.float64]:
    return distances(answers[Ask("eps", "prompt")], answers[Ask("eps", "none")])


MEAN = Metric(
    name="guidance_norm",
    kind="score",
    when="every",
    asks=_ASKS,
    compute=_norm,
    says="how far the prompt pulls: mean over the steps so far",
    source=_SOURCE,
)
FIRST = Metric(
    name="guidance_first",
    kind="score",
    when="first",
    asks=_ASKS,
    compute=_norm,
    says="how far the prompt pulls, at the sampler's first step",
    source=_SOURCE,
    needs_signal=True,
)
