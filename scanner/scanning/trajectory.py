"""The guided trajectory of a batch of latents: its states one after the other, and what every step answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.metric import Ask
from memscan.scanner.metrics.plan import Calls
from memscan.scanner.model.graphs import Graphs, StepAnswer
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.sampling.schedule import Latents, SolverStep
from memscan.scanner.scanning.path import Path


class Guidance(NamedTuple):
    """What a step needs of the denoiser, [N, C, h, w] each: eps given the prompt and, if it is guided, given none."""

    eps: Latents
    uncond_eps: Latents | None


class Trajectory:
    """Takes a step only when the state after it is asked for, and copies to the host only what `path` wants of it.

    Where eps was measured, the step is taken on the host, without another run of the denoiser. Where sampling is not
    guided and `path` wants nothing of no prompt, the denoiser is run with the prompt alone.

    Args:
        noise: initial latents [N, C, h, w].
        cond, uncond: text encodings, values [N, ...] by the name of the denoiser's input.
        calls: of the scan.
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
        calls: Calls,
        path: Path,
        watched: int,
    ) -> None:
        self._graphs = graphs
        self._steps = steps
        self._cond, self._uncond, self._guidance_scale = cond, uncond, guidance_scale
        self._calls, self._path, self._watched = calls, path, watched
        self._sample, self._denoised = graphs.upload(noise), graphs.upload(np.zeros_like(noise))
        self._index = 0
        self._measured: Guidance | None = None

    def at(self, index: int) -> Value:
        """x [N, C, h, w] on the device before the step `index`; after the last step, the final x_0. Never goes back."""
        while self._index < index:
            step, measured = self._steps[self._index], self._measured
            self._measured = None
            if measured is None:
                self._run(step)
            else:
                self._take(step, measured)
            self._index += 1
        return self._sample

    def measured(self, guidance: Guidance) -> None:
        """Use what was measured at the state that `at` gave last, for the step that begins there."""
        self._measured = guidance

    def _run(self, step: SolverStep) -> None:
        alone = self._calls.alone_at(self._index, self._watched)
        uncond = None if alone else self._uncond
        answer = self._graphs.step(self._sample, step, self._cond, uncond, self._denoised, self._guidance_scale)
        self._add(step, step_answers(self._sample, answer), self._graphs.download)
        self._sample, self._denoised = answer.next_sample, answer.denoised

    def _take(self, step: SolverStep, guidance: Guidance) -> None:
        x, previous = self._graphs.download(self._sample), self._graphs.download(self._denoised)
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is reported where it is measured
            next_x, denoised = step.take(x, *guidance, previous, self._guidance_scale)
        self._add(step, step_answers(x, StepAnswer(next_x, denoised, *guidance)), lambda array: array)
        self._sample, self._denoised = self._graphs.upload(next_x), self._graphs.upload(denoised)

    def _add(self, step: SolverStep, answers: Mapping[Ask, Any], download: Callable[[Any], Latents]) -> None:
        if self._index < self._watched:
            wanted = self._path.wanted
            self._path.add({ask: download(answers[ask]) for ask in answers if ask in wanted}, step.level)


def step_answers(sample: Value, answer: StepAnswer) -> dict[Ask, Value]:
    """What a step at `sample` answers, where its values are."""
    none = {} if answer.uncond_eps is None else {Ask("eps", "none"): answer.uncond_eps}
    return {
        Ask("eps", "prompt"): answer.eps,
        **none,
        Ask("denoised"): answer.denoised,
        Ask("state"): sample,
        Ask("next_state"): answer.next_sample,
    }
