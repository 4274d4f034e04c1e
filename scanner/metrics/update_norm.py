"""The norm of the latent's update, |z_t - z_(t+1)|, which memorized prompts make larger (Huang et al.).

Their score is max_t | |d_t| - mu_t | / sd_t, with mean and deviation from about fifty prompts that are not memorized,
of the same model and sampler. Here is what needs no such reference: the mean of the norms over the steps that led to
the measured state, which is the length of the latent's path, a step. It depends on sampler, steps and guidance:
compare it within a run.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.distances import distances
from memscan.scanner.metrics.metric import Answers, Ask, Metric
from memscan.scanner.sampling.schedule import Level


def _norm(answers: Answers, level: Level) -> NDArray[np.float64]:
    return distances(answers[Ask("state")], answers[Ask("next_state")])


METRIC = Metric(
    name="update_norm",
    kind="score",
    when="every",
    asks=(Ask("state"), Ask("next_state")),
    compute=_norm,
    says="how far a step moves the latent: mean over the steps so far",
    source="Huang et al., KDD 2026, d_t without its reference",
)
