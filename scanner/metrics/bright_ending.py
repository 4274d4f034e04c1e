"""Bright Ending: memorized regions attend to the last token, which elsewhere is dark.

The map is the weight of the last token in cross-attention, at the position S - 1 whatever the prompt's length: the
mean over heads, and over the layers on the way down that have the finest resolution of those. In Stable Diffusion 1
these are the first two, at the latent's own 64 x 64, of which the paper takes the mean. Where the resolution is coarser
than the latent's, the graph enlarges the map bilinearly. The paper measures at the last step.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.metric import Answers, Array, Ask, Metric
from memscan.scanner.sampling.schedule import Level

_WEIGHT = Ask("last_token_attention", "prompt")


def _weight(answers: Answers, level: Level) -> Array:
    return answers[_WEIGHT][:, 0]


def _as_it_is(weight: Array, channels: int, sigma: float) -> NDArray[np.float64]:
    """The paper's unit is a weight, too."""
    return weight.astype(np.float64)


METRIC = Metric(
    name="bright_ending",
    kind="map",
    when="measured",
    asks=(_WEIGHT,),
    compute=_weight,
    says="attention to the last token of the prompt",
    source="Chen et al., ICLR 2025 (arXiv 2410.21665)",
    unit=_as_it_is,
    default=False,
)
