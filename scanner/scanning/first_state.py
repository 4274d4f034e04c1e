"""What is asked of the path's first state beyond the guided step from there.

A product J v comes from a measuring graph, which gives v * (J v) summed over its tangents: with v as the only one that
is not zero, division by v leaves J v, exactly but for float32's rounding. Where v is exactly 0 it is taken for 0.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.metrics.metric import LATE, Answers, Ask
from memscan.scanner.metrics.plan import GUIDANCE_ASKS, Calls
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.sampling.schedule import Level, SolverStep, noise_level
from memscan.scanner.settings import Measurement

Array = NDArray[np.float32]
Text = Mapping[str, Value]


class FirstState:
    """Asks the denoiser at the pure noise that sampling begins with.

    Args:
        level: of the sampler's first step.
    """

    def __init__(self, bundle: Bundle, graphs: Graphs, measurement: Measurement, calls: Calls, level: Level) -> None:
        self._graphs = graphs
        self._calls = calls
        self._level = level
        self._late = noise_level(bundle.schedule, round(LATE * bundle.schedule.num_train_timesteps))
        self._derivative = measurement.derivative
        self._guidance_scale = bundle.takes.sampling_guidance(measurement.applied_guidance)
        self._tangents = bundle.tangents_per_call

    def answers(self, noise: Array, cond: Text, uncond: Text, step: Answers) -> Answers:
        """What `calls` ask at the first state of n images.

        Args:
            noise: [n, C, h, w].
            cond, uncond: text encodings, values [n, ...] by the name of the denoiser's input.
            step: what a guided step from there answers.
        """
        x = self._graphs.upload(noise)
        answers: dict[Ask, Array] = {}
        if self._calls.late:
            nothing = self._graphs.upload(np.zeros_like(noise))
            given = self._graphs.step(x, SolverStep(self._late, 0.0, 0.0), cond, uncond, nothing, self._guidance_scale)
            assert given.uncond_eps is not None
            for ask, value in zip(GUIDANCE_ASKS, (given.eps, given.uncond_eps), strict=True):
                answers[ask._replace(at="late")] = self._graphs.download(value)
        for ask in self._calls.products:
            answers[ask] = self._product(x, cond if ask.of == "prompt" else uncond, _direction(ask, step))
        return answers

    def _product(self, x: Value, text: Text, v: Array) -> Array:
        size = np.sqrt(np.square(v, dtype=np.float64).mean(axis=(1, 2, 3), keepdims=True)).astype(np.float32)
        unit = np.divide(v, size, out=np.zeros_like(v), where=size > 0)  # of a size that suits half precision
        tangents = np.zeros((self._tangents, *v.shape), np.float32)
        tangents[0] = unit
        _, v_dot_jv = self._graphs.measure(
            x, self._level, text, self._graphs.upload(tangents), derivative=self._derivative
        )
        return size * np.divide(self._graphs.download(v_dot_jv), unit, out=np.zeros_like(v), where=unit != 0)


def _direction(ask: Ask, step: Answers) -> Array:
    eps: Array = step[Ask("eps", "prompt")]
    uncond_eps: Array = step[Ask("eps", "none")]
    if ask.along == "guidance":
        return eps - uncond_eps
    return eps if ask.of == "prompt" else uncond_eps
