"""What the graphs of a bundle mean: text encoding, guided solver step, measurement and VAE, over any runtime.

Latents, text encodings and tangents are values of the runtime, on its device. What depends on step and batch size alone
is uploaded once and kept, so that a step of a trajectory copies nothing between host and device.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.model.text import Conditioning
from memscan.scanner.notes import Note, note
from memscan.scanner.runtimes import open_runtime
from memscan.scanner.runtimes.runtime import Runtime, Value
from memscan.scanner.settings import Execution

Array = NDArray[np.float32]

_UNCOND_INPUTS = {"encoder_hidden_states": "uncond_hidden_states", "text_embeds": "uncond_text_embeds"}
_ENCODER_OUTPUTS = {"hidden_states": "encoder_hidden_states", "text_embeds": "text_embeds"}


class Engine:
    """The graphs of one bundle as functions."""

    def __init__(self, bundle: Bundle, runtime: Runtime) -> None:
        self._bundle = bundle
        self._runtime = runtime
        self._constants: dict[tuple[str, int | float, int], Value] = {}

    @property
    def device(self) -> str:
        """What the graphs really run on."""
        return self._runtime.device

    @property
    def remark(self) -> str | None:
        """What the user should know about the device, in one line, if there is something."""
        return self._runtime.remark

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
        names = ("input_ids", "input_ids_2")[: len(input_ids)]
        inputs = {name: self._runtime.upload(ids) for name, ids in zip(names, input_ids, strict=True)}
        outputs = self._runtime.run("baseline/text_encoder.onnx" if own else "text_encoder.onnx", inputs)
        return {_ENCODER_OUTPUTS[name]: self._runtime.download(value) for name, value in outputs.items()}

    def step(
        self,
        sample: Value,
        timestep: int,
        cond: Mapping[str, Value],
        uncond: Mapping[str, Value],
        previous_denoised: Value,
        guidance_scale: float,
        coefficients: tuple[float, float, float],
    ) -> tuple[Value, Value]:
        """One guided solver step at one timestep for all: the next sample and the denoised estimate, each [N, C, h, w].

        `coefficients` are a, b, c of x' = a x + b eps + c d_previous.
        """
        scalars = zip(("guidance_scale", "a", "b", "c"), (guidance_scale, *coefficients), strict=True)
        inputs = {
            "sample": sample,
            "timestep": self._timesteps(timestep, sample),
            **cond,
            **{_UNCOND_INPUTS[name]: value for name, value in uncond.items()},
            "previous_denoised": previous_denoised,
            **{name: self._scalar(value) for name, value in scalars},
        }
        outputs = self._runtime.run("step.onnx", inputs)
        return outputs["next_sample"], outputs["denoised"]

    def measure(
        self, sample: Value, timestep: int, cond: Mapping[str, Value], tangents: Value, *, baseline: bool = False
    ) -> tuple[Value, Value]:
        """eps [N, C, h, w], and v * (J v) summed over tangents [Kg, N, C, h, w], of the model or the baseline."""
        inputs = {"sample": sample, "timestep": self._timesteps(timestep, sample), **cond, "tangents": tangents}
        outputs = self._runtime.run("baseline/measure.onnx" if baseline else "measure.onnx", inputs)
        return outputs["eps"], outputs["v_dot_jv"]

    def decode(self, latents: Value) -> Array:
        """Latents [N, C, h, w] -> images [N, 3, H, W], nominally in [-1, 1]."""
        return self.download(self._runtime.run("vae_decoder.onnx", {"latents": latents})["image"])

    def encode_image(self, images: Array) -> Array:
        """Images [N, 3, H, W] in [-1, 1] -> latents [N, C, h, w]."""
        return self.download(self._runtime.run("vae_encoder.onnx", {"image": self.upload(images)})["latents"])

    def _timesteps(self, timestep: int, sample: Value) -> Value:
        return self._constant("timestep", timestep, sample.shape[0])

    def _scalar(self, value: float) -> Value:
        return self._constant("scalar", value, 0)

    def _constant(self, kind: str, value: int | float, count: int) -> Value:
        key = kind, value, count
        if key not in self._constants:
            array = np.full(count, value, np.int64) if kind == "timestep" else np.asarray(value, np.float32)
            self._constants[key] = self.upload(array)
        return self._constants[key]


def open_engine(bundle: Bundle, execution: Execution, note: Note = note) -> Engine:
    """The engine of a bundle in the runtime that `execution` asks for; `note` is given the lines of the runtime.

    Raises:
        EnvironmentFailed: the runtime is not installed, or not on the device that was asked for.
    """
    return Engine(bundle, open_runtime(bundle, execution, note))
