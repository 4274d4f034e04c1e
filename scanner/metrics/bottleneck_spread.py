"""Spread of the bottleneck: the standard deviation over all dimensions of what leaves the denoiser's middle block.

Memorized pictures are stored as spikes, others in a balanced way. The detector is prompt-free: no prompt is given.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.metric import Answers, Ask, Metric
from memscan.scanner.sampling.schedule import Level

_ACTIVATION = Ask("bottleneck", "none")


def _spread(answers: Answers, level: Level) -> NDArray[np.float64]:
    spread: NDArray[np.float64] = answers[_ACTIVATION].astype(np.float64).std(axis=(1, 2, 3))
    return spread


METRIC = Metric(
    name="bottleneck_spread",
    kind="score",
    when="measured",
    asks=(_ACTIVATION,),
    compute=_spread,
    says="how spiky the bottleneck's activation is",
    source="Zhang et al., ICLR 2026 (arXiv 2512.20963)",
    default=False,
)
