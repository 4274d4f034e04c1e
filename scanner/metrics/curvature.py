"""Curvature and its differences: the method's maps (Kim and Lee), from Hutchinson's estimate of the diagonal.

With J = d eps / d x and the score s = -eps / sigma, the negative Hessian's diagonal is diag(J) / sigma. In the collapse
unit (their value times sigma^2; 1 = no variance left), channel means:

    dh_uncond  sigma (diag J_c - diag J_0)       (Eq. 1)
    dh_base    sigma (diag J_c - diag J_base)    (Eq. 2)
    dh_pad     sigma (diag J_c - diag J_pad)
    h_cond     sigma diag J_c

where c is the prompt, 0 the unconditional prompt, base the less-trained checkpoint given the prompt, and pad the prompt
whose padding has the encodings of no prompt: where a model recalls its training pictures by the padding, as Kim and No
found, this is a baseline that still knows the prompt's words.
"""

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.metric import Answers, Array, Ask, Condition, Metric
from memscan.scanner.sampling.schedule import Level

_PAPER = "Kim and Lee, ICML 2026"


def _collapse(answers: Answers, level: Level, *, less: Condition | None) -> Array:
    diagonal = answers[Ask("diagonal", "prompt")]
    if less:
        diagonal = diagonal - answers[Ask("diagonal", less)]
    return diagonal.mean(axis=1) * np.float32(level.sigma)


def _paper_unit(channel_mean: Array, channels: int, sigma: float) -> NDArray[np.float64]:
    """The sum over channels divided by sigma^2, without its negative part."""
    return np.maximum(channel_mean.astype(np.float64) * (channels / sigma**2), 0.0)


def _metric(name: str, less: Condition | None, says: str, source: str) -> Metric:
    conditions: tuple[Condition, ...] = ("prompt", less) if less else ("prompt",)
    return Metric(
        name=name,
        kind="map",
        when="measured",
        asks=tuple(Ask("diagonal", condition) for condition in conditions),
        compute=functools.partial(_collapse, less=less),
        says=says,
        source=source,
        unit=_paper_unit,
    )


DH_UNCOND = _metric("dh_uncond", "none", "curvature, less that without a prompt", f"{_PAPER}, Eq. 1")
DH_BASE = _metric("dh_base", "baseline", "curvature, less that of a less-trained model", f"{_PAPER}, Eq. 2")
DH_PAD = dataclasses.replace(
    _metric("dh_pad", "padded", "curvature, less that without the padding", "after Kim and No, arXiv 2605.02908"),
    default=False,
)
H_COND = _metric("h_cond", None, "curvature alone, nothing subtracted", f"{_PAPER}, the first term of Eq. 1")
