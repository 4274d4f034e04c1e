"""What the sampler's way to a measured state says of an image: the scores of its first step, or of every step.

Each step's answers become one number an image and are let go; a batch never holds those of two steps.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.metric import Answers, Ask, Metric
from memscan.scanner.metrics.plan import Calls
from memscan.scanner.samples import Scores
from memscan.scanner.sampling.schedule import Level


class Path:
    """The way of a batch of N images.

    Args:
        metrics: those that are not of the measured state alone.
        sampled: bool [N], which images are sampled: the others have no way.
    """

    def __init__(self, metrics: Sequence[Metric], calls: Calls, sampled: NDArray[np.bool_]) -> None:
        self._metrics = metrics
        self._calls = calls
        self._sampled = sampled
        self._steps_taken = 0
        self._values: dict[str, list[NDArray[np.float64]]] = {metric.name: [] for metric in metrics}

    @property
    def wanted(self) -> frozenset[Ask]:
        """What the next step must answer."""
        return self._calls.every if self._steps_taken else self._calls.every | self._calls.first

    def add(self, answers: Answers, level: Level) -> None:
        """Take in a step's answers to what was `wanted`, of the images that are sampled."""
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is reported where it is measured
            for metric in self._metrics:
                if metric.when == "every" or self._steps_taken == 0:
                    self._values[metric.name].append(metric.compute(answers, level).astype(np.float64))
        self._steps_taken += 1

    def scores(self, here: Answers, level: Level) -> dict[str, Scores]:
        """The scores at a measured state, whose own answers are `here`, of all N images that have them."""
        found: dict[str, Scores] = {}
        if not self._sampled.any():
            return found
        of_sampled = {ask: values[self._sampled] for ask, values in here.items()}
        for metric in self._metrics:
            values = list(self._values[metric.name])
            if not metric.needs_step_before and (metric.when == "every" or not values):
                values.append(metric.compute(of_sampled, level).astype(np.float64))
            if values:
                found[metric.name] = self._of_all(metric.over(np.stack(values)))
        return found

    def _of_all(self, values: NDArray[np.float64]) -> Scores:
        scores = np.zeros(len(self._sampled), np.float32)
        scores[self._sampled] = values
        return Scores(scores, self._sampled)
