"""What a metric is: what it asks of the model, when, and the formula that makes a map or a score of the answers.

What is asked is apart from what is made of it: `plan.py` turns the asks of all chosen metrics into as few calls of
graphs as there can be, `compute` is pure. A new detector is one file like its neighbours, one line of the catalogue,
and one test with a literal transcription of its formula.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Condition, Quantity
from memscan.scanner.sampling.schedule import Level

Array = NDArray[np.floating[Any]]

Place = Literal["state", "denoised"]
"""x_t itself, or alpha times the denoised estimate given the prompt: x_t - sigma eps."""


class Ask(NamedTuple):
    """One quantity, [N, C, h, w], of what the denoiser answers to a condition at a place.

    `of` is None for what belongs to no single condition: a guided step and its states.
    """

    quantity: Quantity
    of: Condition | None = None
    at: Place = "state"

    def __str__(self) -> str:
        return self.quantity + (f" of {self.of}" if self.of else "") + (" at the denoised image" * (self.at != "state"))


Answers = Mapping[Ask, Array]
"""What was asked -> [N, C, h, w]."""


def mean_over_steps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the values [T, N] at T steps, the mean of each image."""
    return values.mean(axis=0)


@dataclasses.dataclass(frozen=True)
class Metric:
    """A map, summarised as `<name>_mean`, `_max`, `_q99`, or a score `<name>`.

    `when` says of which steps the answers are:

        measured    each measured step by itself: a value for each row of the results
        first       the sampler's first step: the same value for all rows of an image
        every       all steps up to the measured one: `over` makes one value of theirs

    So a row never depends on which other steps were measured. What is not "measured" follows a sampler's path, which an
    image that a row brings does not have; a metric that asks for "next_state" counts the steps that led to the measured
    state, any other counts the measured one too.

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
    over: Callable[[NDArray[np.float64]], NDArray[np.float64]] = mean_over_steps
    memorized: Literal["high", "low"] = "high"
    default: bool = True

    @property
    def needs_baseline(self) -> bool:
        """Whether a bundle without a less-trained checkpoint lacks it."""
        return any(ask.of == "baseline" for ask in self.asks)

    @property
    def needs_step_before(self) -> bool:
        """Whether there is nothing to compute it of at the sampler's first state."""
        return any(ask.quantity == "next_state" for ask in self.asks)

    @property
    def sign(self) -> int:
        """What makes high values mean memorized."""
        return 1 if self.memorized == "high" else -1
