"""The guided trajectory of a batch of latents: its states one after the other, and what every step answers."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.metric import Ask
from memscan.scanner.model.graphs import Graphs, StepAnswer
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.sampling.schedule import SolverStep
from memscan.scanner.scanning.path import Path


class Trajectory:
    """Takes a step only when the state after it is asked for, and copies to the host only what `path` wants of it.

    Args:
        noise: initial latents [N, C, h, w].
        cond, uncond: text encodings, values [N, ...] by the name of the denoiser's input.
        path: is given the answers of the steps before `watched`.
        watched: index of the last state that is measured.
    """

    def __init__(
        self,
        graphs: Graphs,
        steps: Sequence[SolverStep],
        noise: NDArray[np.float32],
        cond: Mapping[str, Value],
        uncond: Mapping[str, Value],
        guidance_scale: float,
        path: Path,
        watched: int,
    ) -> None:
        self._graphs = graphs
        self._steps = steps
        self._cond, self._uncond, self._guidance_scale = cond, uncond, guidance_scale
        self._path, self._watched = path, watched
        self._sample, self._denoised = graphs.upload(noise), graphs.upload(np.zeros_like(noise))
        self._index = 0

    def at(self, index: int) -> Value:
        """x [N, C, h, w] on the device before the step `index`; after the last step, the final x_0. Never goes back."""
        while self._index < index:
            step = self._steps[self._index]
            answer = self._graphs.step(
                self._sample, step, self._cond, self._uncond, self._denoised, self._guidance_scale
            )
            if self._index < self._watched:
                wanted = {
                    ask: self._graphs.download(value)
                    for ask, value in step_answers(self._sample, answer).items()
                    if ask in self._path.wanted
                }
                self._path.add(wanted, step.level)
            self._sample, self._denoised = answer.next_sample, answer.denoised
            self._index += 1
        return self._sample


def step_answers(sample: Value, answer: StepAnswer) -> dict[Ask, Value]:
    """What a guided step at `sample` answers, on the device."""
    return {
        Ask("eps", "prompt"): answer.eps,
        Ask("eps", "none"): answer.uncond_eps,
        Ask("denoised"): answer.denoised,
        Ask("state"): sample,
        Ask("next_state"): answer.next_sample,
    }
