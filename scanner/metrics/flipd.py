"""FLIPD: the local dimension of the model's distribution around an image; low where it has memorized.

With the score s = -eps / sigma and J = d eps / d x, on D coordinates,

    D + sigma^2 (tr ds/dx + |s|^2) = D - sigma tr J + |eps|^2

at alpha x_0, the image shrunk but *not noised*: at a noisy x_t the two terms cancel in expectation, whatever the
distribution. x_0 is the denoised estimate given the prompt, so that alpha x_0 = x_t - sigma eps. The trace is that of
the estimated diagonal: one measurement more for each measured step.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.metric import Answers, Ask, Metric
from memscan.scanner.sampling.schedule import Level

_EPS = Ask("eps", "prompt", at="denoised")
_DIAGONAL = Ask("diagonal", "prompt", at="denoised")


def _dimension(answers: Answers, level: Level) -> NDArray[np.float64]:
    trace = answers[_DIAGONAL].sum(axis=(1, 2, 3), dtype=np.float64)
    squared = np.square(answers[_EPS].astype(np.float64)).sum(axis=(1, 2, 3))
    return answers[_EPS][0].size - level.sigma * trace + squared


METRIC = Metric(
    name="flipd",
    kind="score",
    when="measured",
    asks=(_EPS, _DIAGONAL),
    compute=_dimension,
    says="dimension of what could be drawn here: low if memorized",
    source="Kamkari et al., NeurIPS 2024 (arXiv 2406.03537); Ross et al., ICLR 2025",
    memorized="low",
    default=False,
)
