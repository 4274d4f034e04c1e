"""Condition Jacobian: how fast eps changes with the text where the prompt is.

The guidance eps_c - eps_0 is the integral, along the straight line from no prompt's encoding to the prompt's, of the
derivative with respect to the text. For memorized prompts it rises sharply near the prompt's end of the line, so that
its value there tells more than the integral:

    | J_c (c - c_0) |,    J_c = d eps / d c at the prompt's encoding c

With a pooled encoding beside the tokens' (Stable Diffusion XL), c is both.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.metric import Answers, Ask, Metric
from memscan.scanner.sampling.schedule import Level

_PRODUCT = Ask("condition_product", "prompt")


def _norm(answers: Answers, level: Level) -> NDArray[np.float64]:
    squares = np.square(answers[_PRODUCT].astype(np.float64)).sum(axis=(1, 2, 3))
    norm: NDArray[np.float64] = np.sqrt(squares)
    return norm


METRIC = Metric(
    name="condition_jacobian",
    kind="score",
    when="measured",
    asks=(_PRODUCT,),
    compute=_norm,
    says="how fast the prediction changes with the prompt",
    source="workshop paper, 2026 (OpenReview pY2P28M9Iv)",
    default=False,
)
