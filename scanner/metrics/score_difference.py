"""Squared differences of the score, which equal those of the curvature in expectation over prompts (Kim and Lee).

In the collapse unit (their value times sigma^2), channel means:

    ds_uncond  (eps_c - eps_0)^2       (Eq. 5)
    ds_base    (eps_c - eps_base)^2    (Eq. 6)

where c is the prompt, 0 the unconditional prompt, and base the less-trained checkpoint given the prompt. Every guided
step has both terms of the first, so that its mean over the path, ds_path, costs nothing. All steps weigh the same: the
best of 25 weightings (powers of alpha and sigma, windows of steps) is 0.02 IoU ahead on the embedded model's
calibration captions, too little to choose by.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.metric import Answers, Array, Ask, Condition, Metric
from memscan.scanner.sampling.schedule import Level

_PAPER = "Kim and Lee, ICML 2026"


def _squared_difference(answers: Answers, level: Level, *, less: Condition) -> Array:
    return np.square(answers[Ask("eps", "prompt")] - answers[Ask("eps", less)]).mean(axis=1)


def _paper_unit(channel_mean: Array, channels: int, sigma: float) -> NDArray[np.float64]:
    """The sum over channels divided by sigma^2."""
    return channel_mean.astype(np.float64) * (channels / sigma**2)


def _metric(name: str, less: Condition, says: str, source: str) -> Metric:
    return Metric(
        name=name,
        kind="map",
        when="measured",
        asks=(Ask("eps", "prompt"), Ask("eps", less)),
        compute=functools.partial(_squared_difference, less=less),
        says=says,
        source=source,
        unit=_paper_unit,
    )


DS_UNCOND = _metric("ds_uncond", "none", "score change by the prompt, squared", f"{_PAPER}, Eq. 5")
DS_BASE = _metric("ds_base", "baseline", "score change by training, squared", f"{_PAPER}, Eq. 6")

PATH = Metric(
    name="ds_path",
    kind="map",
    when="every",
    asks=(Ask("eps", "prompt"), Ask("eps", "none")),
    compute=functools.partial(_squared_difference, less="none"),
    says="ds_uncond, mean over the steps so far",
    source=f"{_PAPER}, Eq. 5, at every step",
    unit=_paper_unit,
    default=False,
)
