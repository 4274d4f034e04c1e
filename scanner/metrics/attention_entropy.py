"""Entropy of cross-attention: high where a memorized prompt's tokens share what else goes to the first one.

    - sum over tokens of a log a,    a the mean weight of each token over positions, heads and layers

The paper's detector adds up later steps, and what the padding gained since the first; here it is one measured step's.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.metric import Answers, Ask, Metric
from memscan.scanner.sampling.schedule import Level

_WEIGHTS = Ask("token_attention", "prompt")


def _entropy(answers: Answers, level: Level) -> NDArray[np.float64]:
    weights = answers[_WEIGHTS].astype(np.float64)
    logarithms = np.log(weights, out=np.zeros_like(weights), where=weights != 0)  # 0 log 0 = 0
    entropy: NDArray[np.float64] = -(weights * logarithms).sum(axis=1)
    return entropy


METRIC = Metric(
    name="attention_entropy",
    kind="score",
    when="measured",
    asks=(_WEIGHTS,),
    compute=_entropy,
    says="how evenly attention is spread over the prompt's tokens",
    source="Ren et al., ECCV 2024 (arXiv 2403.11052)",
    default=False,
)
