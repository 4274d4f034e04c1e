"""Asthana and Belagiannis: at hardly any noise, memorization turns the guidance along the unconditional score.

The cosine of s_c - s_0 and s_0, over the channels of a cell. Theirs is its mean over the cells at the two ends of the
noise, both asked of the same pure noise x_T, without any sampling: |eps_c - eps_0| at the first step, which is Wen's,
plus `WEIGHT` times the cosine of what the denoiser answers when it is told that x_T is late. Here it is a map as well,
of the measured state.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.distances import distances
from memscan.scanner.metrics.metric import Answers, Array, Ask, Metric
from memscan.scanner.sampling.schedule import Level

WEIGHT = 2.0
"""Of the cosine against the norm, theirs for Stable Diffusion 1; .1 for 2, .5 for Realistic Vision: chosen by hand."""

_LEAST = 1e-8
"""Of the product of two norms, as in torch's cosine_similarity."""

_EPS, _UNCOND = Ask("eps", "prompt"), Ask("eps", "none")
_LATE_EPS, _LATE_UNCOND = _EPS._replace(at="late"), _UNCOND._replace(at="late")
_SOURCE = "Asthana and Belagiannis, ICLR 2026 (arXiv 2601.20642)"


def _cosine(eps: Array, uncond: Array) -> Array:
    """Of eps_c - eps_0 and eps_0, each [N, C, h, w], over channels: [N, h, w]; the signs of both scores cancel."""
    guidance = eps - uncond
    norms = np.sqrt(np.square(guidance).sum(axis=1)) * np.sqrt(np.square(uncond).sum(axis=1))
    cosine: Array = (guidance * uncond).sum(axis=1) / np.maximum(norms, np.float32(_LEAST))
    return cosine


def _of_state(answers: Answers, level: Level) -> Array:
    return _cosine(answers[_EPS], answers[_UNCOND])


def _of_late_noise(answers: Answers, level: Level) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = _cosine(answers[_LATE_EPS], answers[_LATE_UNCOND]).mean(axis=(1, 2), dtype=np.float64)
    return mean


def _at_both_ends(answers: Answers, level: Level) -> NDArray[np.float64]:
    return distances(answers[_EPS], answers[_UNCOND]) + WEIGHT * _of_late_noise(answers, level)


def _unit(cosine: Array, channels: int, sigma: float) -> NDArray[np.float64]:
    """From 0, opposite, to 2, aligned."""
    return 1.0 + cosine.astype(np.float64)


MAP = Metric(
    name="cosine_uncond",
    kind="map",
    when="measured",
    asks=(_EPS, _UNCOND),
    compute=_of_state,
    says="cosine of the prompt's pull and the score without prompt",
    source=f"{_SOURCE}, at a measured state",
    unit=_unit,
    default=False,
)
LATE = Metric(
    name="late_cosine",
    kind="score",
    when="first",
    asks=(_LATE_EPS, _LATE_UNCOND),
    compute=_of_late_noise,
    says="that cosine where pure noise is told to be late",
    source=_SOURCE,
    default=False,
)
BOTH = Metric(
    name="anisotropy",
    kind="score",
    when="first",
    asks=(_EPS, _UNCOND, _LATE_EPS, _LATE_UNCOND),
    compute=_at_both_ends,
    says=f"guidance_first and {WEIGHT:g} times late_cosine",
    source=_SOURCE,
    needs_signal=True,
    default=False,
)
