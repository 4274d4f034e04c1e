"""What the first step alone makes of an image: a memorized one is there at once (Webster).

    dcs              denoising confidence, mean (x_T / alpha - d_T)^2: from the noise of a one-step sampler, which is
                     x_T / alpha, to what its step makes of it; the mean square of the guided eps, in another unit
    one_step_error   the root of mean (d_T - d_t)^2: from the first estimate to that at the measured state

d is the guided denoised estimate. Both depend on the guidance: compare them within a run.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.distances import distances
from memscan.scanner.metrics.metric import Answers, Array, Ask, Metric
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.settings import Reference

_STATE, _DENOISED = Ask("state"), Ask("denoised")
_FIRST = Ask("denoised", at="first")
_SOURCE = "Webster, 2023 (arXiv 2305.08694)"


def _confidence(answers: Answers, level: Level) -> NDArray[np.float64]:
    noise = answers[_STATE] / np.float32(level.alpha)
    return np.square(distances(noise, answers[_DENOISED])) / noise[0].size


def _error(answers: Answers, level: Level) -> NDArray[np.float64]:
    first = answers[_FIRST]
    return distances(first, answers[_DENOISED]) / np.sqrt(first[0].size)


def _last(values: Array, levels: Sequence[Level], reference: Reference | None) -> Array:
    last: Array = values[-1]
    return last


CONFIDENCE = Metric(
    name="dcs",
    kind="score",
    when="first",
    asks=(_STATE, _DENOISED),
    compute=_confidence,
    needs_signal=True,
    says="denoising confidence: how far one step takes pure noise",
    source=f"{_SOURCE}, white-box score",
    default=False,
)
ERROR = Metric(
    name="one_step_error",
    kind="score",
    when="every",
    asks=(_DENOISED, _FIRST),
    compute=_error,
    over=_last,
    least=2,
    says="what the first step lacks of the image: low if memorized",
    source=f"{_SOURCE}, one-step synthesis",
    memorized="low",
    default=False,
)
