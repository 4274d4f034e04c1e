"""How the guidance changes from one step to the next: DSM, |g_2 - g_1| of the sampler's second step and its third.

g = eps_c - eps_0, in the unit of eps; theirs divides each by its sigma, which at these steps is 1 but for some
thousandths, and squares the norm.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.distances import distances
from memscan.scanner.metrics.metric import Answers, Array, Ask, Metric
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.settings import Reference

_EPS, _UNCOND = Ask("eps", "prompt"), Ask("eps", "none")
_BEFORE = _EPS._replace(at="before"), _UNCOND._replace(at="before")


def _change(answers: Answers, level: Level) -> NDArray[np.float64]:
    return distances(answers[_EPS] - answers[_UNCOND], answers[_BEFORE[0]] - answers[_BEFORE[1]])


def _second(values: Array, levels: Sequence[Level], reference: Reference | None) -> Array:
    second: Array = values[1]
    return second


METRIC = Metric(
    name="dsm",
    kind="score",
    when="every",
    asks=(_EPS, _UNCOND, *_BEFORE),
    compute=_change,
    over=_second,
    least=2,
    says="how the prompt's pull changes, second to third step",
    source="Early Detection of Memorization in Diffusion Models, ICML 2026, DSM (1 to 2)",
    default=False,
)
