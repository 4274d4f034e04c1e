"""What a metric is: what it asks of the model, when, and the formula that makes a map or a score of the answers.

What is asked is apart from what is made of it: `plan.py` turns the asks of all chosen metrics into as few calls of
graphs as there can be, `compute` is pure. A new detector is one file like its neighbours, one line of the catalogue,
and one test with a literal transcription of its formula.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Condition, Quantity
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.settings import Reference

Array = NDArray[np.floating[Any]]

Place = Literal["state", "denoised", "before", "first", "late"]
"""Where the denoiser is asked:

    state       x_t itself
    denoised    alpha times the denoised estimate given the prompt, x_t - sigma eps, at the noise level of x_t
    before      the state before x_t on the sampler's path
    first       the path's first state, which is pure noise
    late        the same noise, but the denoiser is told that it is at `LATE`, where hardly any is left
"""

LATE = 0.041
"""Of the training timesteps: the last but two of fifty."""

_NAMES: dict[Place, str] = {
    "state": "",
    "denoised": " at the denoised image",
    "before": " at the state before",
    "first": " at the first state",
    "late": " at noise that is told to be late",
}

Direction = Literal["guidance", "own"]
"""Of a product J v: v is eps of the prompt less eps of none, or eps of the condition whose J it is."""


class Ask(NamedTuple):
    """One quantity, [N, C, h, w], of what the denoiser answers to a condition at a place.

    `of` is None for what belongs to no single condition: a guided step and its states. `along` is the direction of a
    product.
    """

    quantity: Quantity
    of: Condition | None = None
    at: Place = "state"
    along: Direction | None = None

    def __str__(self) -> str:
        along = f" along {self.along}" if self.along else ""
        return self.quantity + along + (f" of {self.of}" if self.of else "") + _NAMES[self.at]


Answers = Mapping[Ask, Array]
"""What was asked -> [N, C, h, w]."""


Over = Callable[[Array, Sequence[Level], Reference | None], Array]
"""Values [T, N, ...] at T steps, their levels, and the metric's reference if there is one -> [N, ...]."""


def mean_over_steps(values: Array, levels: Sequence[Level], reference: Reference | None) -> Array:
    """The mean over the steps."""
    mean: Array = values.mean(axis=0)
    return mean


@dataclasses.dataclass(frozen=True)
class Metric:
    """A map, summarised as `<name>_mean`, `_max`, `_q90`, `_q99`, `_share`, or a score `<name>`.

    `when` says of which steps the answers are:

        measured    each measured step by itself: a value for each row of the results
        first       the sampler's first step: the same value for all rows of an image
        every       all steps up to the measured one: `over` makes one map or value of theirs

    So a row never depends on which other steps were measured. What is not "measured" follows a sampler's path, which an
    image that a row brings does not have; a metric that asks for "next_state" counts the steps that led to the measured
    state, any other counts the measured one too. What is asked at "first" or "before" is an earlier step's answer at
    "state"; at the first state nothing is before, so that a metric which asks for it counts from the second one on.
    `least` is the number of steps that must count. `needs_signal` says that there is no value where a path begins
    at pure noise, alpha = 0: there eps is the state whatever the prompt says, and nothing can be divided by alpha.

    `compute` takes the answers at N images and their noise level to [N, h, w] or [N]; `unit` takes a map's channel
    means, in the collapse unit, the number of channels and sigma to the paper's unit, for the oracle protocol.
    """

    name: str
    kind: Literal["map", "score"]
    when: Literal["measured", "first", "every"]
    asks: tuple[Ask, ...]
    compute: Callable[[Answers, Level], Array]
    says: str
    source: str
    unit: Callable[[Array, int, float], NDArray[np.float64]] | None = None
    over: Over = mean_over_steps
    least: int = 1
    needs_signal: bool = False
    needs_reference: bool = False
    memorized: Literal["high", "low"] = "high"
    default: bool = True

    @property
    def needs_baseline(self) -> bool:
        """Whether a bundle without a less-trained checkpoint lacks it."""
        return any(ask.of == "baseline" for ask in self.asks)

    @property
    def of_steps_before(self) -> bool:
        """Whether the measured state itself does not count, since no step was taken from there yet."""
        return any(ask.quantity == "next_state" for ask in self.asks)

    @property
    def compares(self) -> bool:
        """Whether a step is compared with the one before, so that the first does not count."""
        return any(ask.at == "before" for ask in self.asks)

    @property
    def since(self) -> int:
        """Index of the first state that has the metric."""
        return self.least - 1 + (self.of_steps_before or self.compares)

    @property
    def sign(self) -> int:
        """What makes high values mean memorized."""
        return 1 if self.memorized == "high" else -1
