"""Thresholds at a rate of false positives, from values of prompts that are not memorized; exact for any distribution.

With G prompts of J values each (images, or cells of a map), all alike distributed from prompt to prompt, what is at
least t has, for the value of a new prompt, the conformal p-value

    p(t) = (1 + (values of the G prompts that are >= t) / J) / (G + 1)

and P(p <= r) <= r: for J = 1 this is the rank among the clean scores (Vovk et al., 2005); for more it holds as well,
since a prompt counts by its mean (Lee, Barber and Willett, 2023; for the cells of masks it is conformal risk control,
Angelopoulos et al., ICLR 2024). The threshold at the rate r is the least t with p(t) <= r. There is one if r (G + 1) is
1 at least.

Intervals are those of order statistics, by the binomial distribution of G prompts: exact for J = 1, and the widest that
there can be for more, where the values of a prompt may stand and fall together.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.records import check_range

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2
_HALVINGS = 60
_SLACK = 1e-9
"""Rates are decimal numbers: 0.01 * 100 is to count as 1."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """A threshold at a rate of false positives.

    `low` and `high` bound the threshold at exactly this rate, None where the prompts are too few to bound it;
    `rate_low` and `rate_high` bound the rate of false positives that the threshold has. Both are 95% intervals.
    """

    threshold: float
    low: float | None
    high: float | None
    rate_low: float
    rate_high: float

    def __post_init__(self) -> None:
        check_range("rate_low", self.rate_low, 0.0, self.rate_high)
        check_range("rate_high", self.rate_high, 0.0, 1.0)


def needed(rate: float) -> int:
    """How many prompts there must be at least for a threshold at a rate of false positives."""
    return math.ceil(1 / rate - 1 - _SLACK)


def limit(values: NDArray[np.floating], rate: float) -> Limit:
    """The threshold at `rate` of values [G, J], of float32 or float16.

    A value is above the threshold if it is greater than the one that bounds it; of float16, which are rounded, if it
    would be rounded to a greater one.

    Raises:
        ValueError: fewer prompts than are `needed`.
    """
    prompts, of_each = values.shape
    if prompts < needed(rate):
        raise ValueError(f"{prompts} prompts cannot tell a rate of {rate:g}: {needed(rate)} are needed")
    falling = -np.sort(-values, axis=None)
    allowed = math.floor(of_each * (rate * (prompts + 1) - 1) + _SLACK)
    fewest, most = _counts(prompts, rate)
    upper, lower = of_each * fewest, of_each * most
    whole = math.floor(rate * (prompts + 1) - 1 + _SLACK)
    return Limit(
        threshold=_above(falling[allowed]),
        low=float(falling[lower]) if lower < len(falling) else None,
        high=float(falling[upper - 1]) if upper else None,
        rate_low=_solve(prompts, whole, 1 - _TAIL),
        rate_high=_solve(prompts, whole, _TAIL),
    )


def binomial_interval(count: int, trials: int) -> tuple[float, float]:
    """The 95% interval of Clopper and Pearson for a share of which `count` of `trials` were seen."""
    low = _solve(trials, count - 1, 1 - _TAIL) if count else 0.0
    return low, _solve(trials, count, _TAIL) if count < trials else 1.0


def _counts(trials: int, rate: float) -> tuple[int, int]:
    """The fewest and the most values above the quantile at a rate, each left out with a probability of 2.5% at most."""
    below = np.cumsum(_probabilities(trials, rate))  # P(count <= k)
    fewest = int(np.count_nonzero(below <= _TAIL))
    most = int(np.flatnonzero(1 - below <= _TAIL)[0])
    return fewest, most


def _probabilities(trials: int, rate: float) -> NDArray[np.float64]:
    """P(count = k) for k = 0 to `trials`."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    counts = np.arange(trials + 1)
    choose = logs[trials] - logs - logs[::-1]
    return np.exp(choose + counts * math.log(rate) + (trials - counts) * math.log1p(-rate))


def _solve(trials: int, count: int, probability: float) -> float:
    """The rate at which at most `count` of `trials` have this probability; it falls with the rate."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not 0 < middle < 1:
            break
        if _probabilities(trials, middle)[: count + 1].sum() > probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _above(value: np.floating) -> float:
    after = np.nextafter(value, value.dtype.type(np.inf))
    return float(after) if value.dtype == np.float32 else (float(value) + float(after)) / 2
