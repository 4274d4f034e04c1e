"""The norm of the latent's update, |z_t - z_(t+1)|, which memorized prompts make larger (Huang et al.).

    update_norm   the mean over the steps that led to the measured state: the length of the latent's path, a step
    update_last   of the step that led there
    update_z      theirs, max_t | |d_t| - mu_t | / sd_t, with mean and deviation of prompts that are not memorized, of
                  the same model and sampler: about fifty make a reference

They depend on sampler, steps and guidance: compare them within a run.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.distances import distances
from memscan.scanner.metrics.metric import Answers, Array, Ask, Metric
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.settings import Reference

_ASKS = (Ask("state"), Ask("next_state"))
_SOURCE = "Huang et al., KDD 2026 (arXiv 2605.22050)"


def _norm(answers: Answers, level: Level) -> NDArray[np.float64]:
    return distances(answers[Ask("state")], answers[Ask("next_state")])


def _last(values: Array, levels: Sequence[Level], reference: Reference | None) -> Array:
    last: Array = values[-1]
    return last


def _standardized(values: Array, levels: Sequence[Level], reference: Reference | None) -> Array:
    if reference is None:
        raise ValueError("update_z has no value without a reference")
    place = {timestep: index for index, timestep in enumerate(reference.timesteps)}
    chosen = [place[int(level.timestep)] for level in levels]
    mean, deviation = np.array(reference.mean)[chosen, None], np.array(reference.deviation)[chosen, None]
    greatest: Array = (abs(values - mean) / deviation).max(axis=0)
    return greatest


def reference_of(timesteps: Sequence[int], norms: NDArray[np.floating]) -> Reference:
    """The reference of `update_z`.

    Args:
        timesteps: T of the sampler's, descending.
        norms: |z_t - z_(t+1)| of N images of clean prompts at the steps taken from there, [N, T]: what `update_last`
            is at the states that these steps lead to. The deviation is that of a sample, hence N at least 2.

    Raises:
        ValueError: one image only, or images that are all the same.
    """
    if len(norms) < 2:
        raise ValueError(f"a reference takes two images at least, not {len(norms)}")
    values = np.asarray(norms, np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
    return Reference(STANDARDIZED.name, tuple(timesteps), tuple(mean.tolist()), tuple(deviation.tolist()))


METRIC = Metric(
    name="update_norm",
    kind="score",
    when="every",
    asks=_ASKS,
    compute=_norm,
    says="how far a step moves the latent: mean over the steps so far",
    source=f"{_SOURCE}, d_t without its reference",
)
LAST = Metric(
    name="update_last",
    kind="score",
    when="every",
    asks=_ASKS,
    compute=_norm,
    over=_last,
    says="how far the last step moved the latent",
    source=f"{_SOURCE}, d_t",
    default=False,
)
STANDARDIZED = Metric(
    name="update_z",
    kind="score",
    when="every",
    asks=_ASKS,
    compute=_norm,
    over=_standardized,
    needs_reference=True,
    says="the same against clean prompts, greatest deviation",
    source=_SOURCE,
    default=False,
)
