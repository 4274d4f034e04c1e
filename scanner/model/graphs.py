"""What the graphs of a bundle mean: text encoding, guided solver step, measurement and VAE, over any runtime.

Latents, text encodings and tangents are values of the runtime, on its device. What depends on step and batch size alone
is uploaded once and kept, so that a step of a trajectory copies nothing between host and device.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memscan.scanner import graph_names
from memscan.scanner.bundle import Bundle
from memscan.scanner.model.text import Conditioning
from memscan.scanner.notes import Note, note
from memscan.scanner.runtimes import open_runtime
from memscan.scanner.runtimes.runtime import Runtime, Value
from memscan.scanner.sampling.schedule import Level, SolverStep
from memscan.scanner.settings import Derivative, Execution

Array = NDArray[np.float32]


class StepAnswer(NamedTuple):
    """What a step gives, each [N, C, h, w]: beside its result, eps given the prompt and, if it is guided, none."""

    next_sample: Value
    denoised: Value
    eps: Value
    uncond_eps: Value | None = None


class Graphs:
    """The graphs of one bundle as functions."""

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        self._bundle = bundle
        self._runtime = runtime
        self._constants: dict[tuple[float, tuple[int, ...]], Value] = {}
        self.called: Callable[[], None] = lambda: None
        """Is called after every call of the denoiser, whose answer may still be on its way."""

    @property
    def device(self) -> str:
        """What the graphs really run on."""
        return self._runtime.device

    @property
    def remark(self) -> str | None:
        """What the user should know about the device, in one line, if there is something."""
        return self._runtime.remark

    @property
    def loaded(self) -> Mapping[str, str]:
        """What each graph that has been run so far really runs on."""
        return self._runtime.loaded

    @property
    def usual_batch(self) -> int:
        """How many images suit the device, if they fit into its memory."""
        return self._runtime.usual_batch

    def upload(self, array: NDArray[Any]) -> Value:
        """A copy of the array on the device."""
        return self._runtime.upload(array)

    def download(self, value: Value) -> Array:
        """A value as an array."""
        return self._runtime.download(value)

    def encode_text(self, input_ids: Sequence[NDArray[np.int64]], *, baseline: bool = False) -> Conditioning:
        """Token ids [N, S], one array for each of the model's text encoders, to what its denoiser takes."""
        own = baseline and self._bundle.baseline_has_text_encoder
        graph = graph_names.TEXT_ENCODER
        inputs = {graph_names.input_ids(index): self._runtime.upload(ids) for index, ids in enumerate(input_ids)}
        outputs = self._runtime.run(graph_names.of_baseline(graph) if own else graph, inputs)
        return {name: self._runtime.download(value) for name, value in outputs.items()}

    def step(
        self,
        sample: Value,
        step: SolverStep,
        cond: Mapping[str, Value],
        uncond: Mapping[str, Value] | None,
        previous_denoised: Value,
        guidance_scale: float,
    ) -> StepAnswer:
        """One solver step for all images of a batch.

        Args:
            sample, previous_denoised: [N, C, h, w].
            cond, uncond: text encodings, values [N, ...] by the name of the denoiser's input, and what both share;
                without `uncond` the step is not guided, whatever the scale, at half the price.
        """
        scalars = {} if uncond is None else {"guidance_scale": guidance_scale}
        if self._bundle.steps_by_denoised:
            scalars["d"] = step.d
        else:
            step = step.of_eps()
        scalars |= {"a": step.a, "b": step.b, "c": step.c}
        inputs = {
            "sample": sample,
            **self._level(step.level, sample),
            **cond,
            **_encodings_of_none(uncond or {}),
            "previous_denoised": previous_denoised,
            **{name: self._constant(value) for name, value in scalars.items()},
        }
        graph = graph_names.UNGUIDED if uncond is None else graph_names.STEP
        answer = StepAnswer(**self._runtime.run(graph, inputs))
        self.called()
        return answer

    def measure(
        self,
        sample: Value,
        level: Level,
        cond: Mapping[str, Value],
        tangents: Value,
        *,
        derivative: Derivative,
        baseline: bool = False,
    ) -> tuple[Value, Value]:
        """eps [N, C, h, w], and v * (J v) summed over tangents [Kg, N, C, h, w], of the model or the baseline.

        J is the derivative of that kind, one of the bundle's.
        """
        inputs = {"sample": sample, **self._level(level, sample), **cond, "tangents": tangents}
        graph = graph_names.measure(derivative)
        outputs = self._runtime.run(graph_names.of_baseline(graph) if baseline else graph, inputs)
        self.called()
        return outputs["eps"], outputs["v_dot_jv"]

    def observe(self, sample: Value, level: Level, cond: Mapping[str, Value]) -> dict[str, Value]:
        """What the denoiser attends to in the text, and its bottleneck: by the quantity's name, those that it has."""
        return dict(self._runtime.run(graph_names.OBSERVE, {"sample": sample, **self._level(level, sample), **cond}))

    def condition(
        self, sample: Value, level: Level, cond: Mapping[str, Value], uncond: Mapping[str, Value]
    ) -> tuple[Value, Value]:
        """eps given `cond`, and its derivative with respect to the text along `cond` less `uncond`, [N, C, h, w]."""
        texts = {**cond, **_encodings_of_none(uncond)}
        inputs = {"sample": sample, **self._level(level, sample), **texts}
        outputs = self._runtime.run(graph_names.CONDITION, inputs)
        return outputs["eps"], outputs["condition_product"]

    def decode(self, latents: Value) -> Array:
        """Latents [N, C, h, w] -> images [N, 3, H, W], nominally in [-1, 1]."""
        return self.download(self._runtime.run(graph_names.VAE_DECODER, {"latents": latents})["image"])

    def encode_image(self, images: Array) -> Array:
        """Images [N, 3, H, W] in [-1, 1] -> latents [N, C, h, w]."""
        return self.download(self._runtime.run(graph_names.VAE_ENCODER, {"image": self.upload(images)})["latents"])

    def _level(self, level: Level, sample: Value) -> dict[str, Value]:
        return {name: self._constant(getattr(level, name), sample.shape[0]) for name in graph_names.LEVEL}

    def _constant(self, value: float, *shape: int) -> Value:
        key = value, shape
        if key not in self._constants:
            self._constants[key] = self.upload(np.full(shape, value, np.float32))
        return self._constants[key]


def _encodings_of_none(uncond: Mapping[str, Value]) -> dict[str, Value]:
    return {graph_names.uncond(name): value for name, value in uncond.items() if name not in graph_names.SHARED}


def open_graphs(bundle: Bundle, execution: Execution, note: Note = note) -> Graphs:
    """The graphs of a bundle in the runtime that `execution` asks for; `note` is given the lines of the runtime.

    Raises:
        EnvironmentFailed: the runtime is not installed, or not on the device that was asked for.
    """
    return Graphs(bundle, open_runtime(bundle, execution, note))
