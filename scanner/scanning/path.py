"""What the sampler's path to a measured state says of an image: metrics of its first step, or of every step.

Each step's answers become one number or map an image and are let go, but for those that a later step is compared with.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.metric import Answers, Array, Ask, Metric, Place
from memscan.scanner.metrics.plan import Calls
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.settings import Reference

AtFirst = Callable[[Answers], Answers]
"""A guided step's answers at the path's first state -> what else is asked there."""


class Path:
    """The path of a batch of N images, n of which are sampled.

    Args:
        metrics: those that are not of the measured state alone.
        sampled: bool [N], which images are sampled: the others have no path.
        references: of the metrics that need one, by their names.
        at_first: called once, where more is asked at the first state than a guided step from there answers.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        calls: Calls,
        sampled: NDArray[np.bool_],
        references: Mapping[str, Reference],
        at_first: AtFirst,
    ) -> None:
        self._metrics = metrics
        self._calls = calls
        self.sampled = sampled
        self._references = references
        self._at_first = at_first
        self._steps_taken = 0
        self._counted: dict[str, list[tuple[Level, Array]]] = {metric.name: [] for metric in metrics}
        places = {ask.at for metric in metrics for ask in metric.asks}
        self._keeps_first, self._keeps_before = "first" in places, "before" in places
        self._earlier: dict[Ask, Array] = {}
        self._more: Answers | None = None

    @property
    def wanted(self) -> frozenset[Ask]:
        """What the next step must answer."""
        return self._calls.wanted(self._steps_taken)

    def add(self, answers: Answers, level: Level) -> None:
        """Take in a step's answers to what was `wanted`, [n, C, h, w]."""
        complete = self._complete(answers)
        for metric in self._metrics:
            if self._counts(metric):
                self._counted[metric.name].append((level, _computed(metric, complete, level)))
        if self._keeps_first and not self._steps_taken:
            self._earlier |= _placed(answers, "first")
        if self._keeps_before:
            self._earlier |= _placed(answers, "before")
        self._steps_taken += 1

    def found(self, here: Answers, level: Level) -> dict[str, Array]:
        """Values [n] and maps [n, h, w] of those metrics that a measured state has, by their names.

        Args:
            here: the state's own answers, of all N images.
        """
        found: dict[str, Array] = {}
        if not self.sampled.any():
            return found
        complete = self._complete({ask: values[self.sampled] for ask, values in here.items()})
        for metric in self._metrics:
            counted = list(self._counted[metric.name])
            if self._counts(metric) and not metric.of_steps_before:
                counted.append((level, _computed(metric, complete, level)))
            if len(counted) >= metric.least:
                levels, values = zip(*counted, strict=True)
                found[metric.name] = metric.over(np.stack(values), levels, self._references.get(metric.name))
        return found

    def _counts(self, metric: Metric) -> bool:
        """Whether the state at which the path is counts for a metric."""
        if metric.when == "first":
            return self._steps_taken == 0
        return self._steps_taken > 0 or not metric.compares

    def _complete(self, answers: Answers) -> Answers:
        """With what is asked of earlier states, or beyond the step itself at the first one."""
        if self._steps_taken:
            return {**answers, **self._earlier}
        if self._more is None:
            self._more = self._at_first(answers) if self._calls.late or self._calls.products else {}
        return {**answers, **self._more, **_placed(answers, "first")}


def _placed(answers: Answers, at: Place) -> Answers:
    return {ask._replace(at=at): values for ask, values in answers.items()}


def _computed(metric: Metric, answers: Answers, level: Level) -> Array:
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # reported where it is measured
        return metric.compute(answers, level)
