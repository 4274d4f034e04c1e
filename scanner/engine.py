"""Runs the graphs of a bundle in ONNX Runtime, each loaded when it is first needed.

A scan without pictures never loads the decoder, one without images of its own never the encoder. CUDA asked for is CUDA
or an error, never silently the CPU. Failures come out as one line: out of memory, a graph that cannot be loaded.
"""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import BundleError, EnvironmentFailed
from memscan.scanner.settings import Execution

Array = NDArray[np.float32]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

_OUT_OF_MEMORY = (
    "failed to allocate",
    "out of memory",
    "out_of_memory",
    "bad_alloc",
    "bad allocation",
    "alloc_failed",
    "cudaerrormemoryallocation",
    "is smaller than requested",
)
"""How ONNX Runtime, CUDA, cuBLAS and cuDNN word it, in lower case."""


class Engine:
    """The graphs of one bundle as functions of numpy arrays.

    Raises:
        EnvironmentFailed: no ONNX Runtime, or CUDA was asked for and is not there.
    """

    def __init__(self, bundle: Bundle, execution: Execution) -> None:
        self._bundle = bundle
        self._onnxruntime = _import_onnxruntime()
        self._cuda_demanded = execution.provider == "cuda"
        self._providers = _choose_providers(self._onnxruntime, execution)
        self._options = self._onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = execution.threads or _usable_cores()
        self._options.log_severity_level = 4  # what ONNX Runtime logs as an error it also raises
        self._sessions: dict[Path, Any] = {}

    @property
    def provider(self) -> str:
        """The execution provider that really loaded, by ONNX Runtime's name."""
        provider: str = self._session(self._bundle.file("text_encoder.onnx")).get_providers()[0]
        return provider

    def encode_text(self, input_ids: NDArray[np.int64], *, baseline: bool = False) -> Array:
        """Token ids [N, S] -> hidden states [N, S, D], by the model's or the baseline's text encoder."""
        graph = self._bundle.baseline_text_encoder if baseline else self._bundle.file("text_encoder.onnx")
        return self._run(graph, {"input_ids": input_ids})[0]

    def step(
        self,
        sample: Array,
        timestep: int,
        cond: Array,
        uncond: Array,
        previous_denoised: Array,
        guidance_scale: float,
        coefficients: tuple[float, float, float],
    ) -> tuple[Array, Array]:
        """One guided solver step at one timestep for all: the next sample and the denoised estimate, each [N, C, h, w].

        `coefficients` are a, b, c of x' = a x + b eps + c d_previous.
        """
        scalars = zip(("guidance_scale", "a", "b", "c"), (guidance_scale, *coefficients), strict=True)
        inputs: dict[str, NDArray[Any]] = {
            "sample": sample,
            "timestep": np.full(len(sample), timestep, np.int64),
            "encoder_hidden_states": cond,
            "uncond_hidden_states": uncond,
            "previous_denoised": previous_denoised,
            **{name: np.asarray(value, np.float32) for name, value in scalars},
        }
        next_sample, denoised = self._run(self._bundle.file("step.onnx"), inputs)
        return next_sample, denoised

    def measure(
        self, sample: Array, timestep: int, cond: Array, tangents: Array, *, baseline: bool = False
    ) -> tuple[Array, Array]:
        """eps [N, C, h, w], and v * (J v) summed over tangents [Kg, N, C, h, w], of the model or the baseline."""
        graph = self._bundle.file("baseline/measure.onnx" if baseline else "measure.onnx")
        inputs: dict[str, NDArray[Any]] = {
            "sample": sample,
            "timestep": np.full(len(sample), timestep, np.int64),
            "encoder_hidden_states": cond,
            "tangents": tangents,
        }
        eps, v_dot_jv = self._run(graph, inputs)
        return eps, v_dot_jv

    def decode(self, latents: Array) -> Array:
        """Latents [N, C, h, w] -> images [N, 3, H, W], nominally in [-1, 1]."""
        return self._run(self._bundle.file("vae_decoder.onnx"), {"latents": latents})[0]

    def encode_image(self, images: Array) -> Array:
        """Images [N, 3, H, W] in [-1, 1] -> latents [N, C, h, w]."""
        return self._run(self._bundle.file("vae_encoder.onnx"), {"image": images})[0]

    def _run(self, graph: Path, inputs: dict[str, NDArray[Any]]) -> list[Array]:
        session = self._session(graph)
        try:
            outputs: list[Array] = session.run(None, inputs)
        except self._failures() as error:
            raise _memory_failure(graph, error) or EnvironmentFailed(f"{graph.name} failed: {_line(error)}") from error
        return outputs

    def _session(self, graph: Path) -> Any:
        if graph not in self._sessions:
            self._sessions[graph] = self._load(graph)
        return self._sessions[graph]

    def _load(self, graph: Path) -> Any:
        try:
            session = self._onnxruntime.InferenceSession(graph, self._options, providers=self._providers)
        except self._failures() as error:
            raise (
                _memory_failure(graph, error)
                or _device_failure(graph, error)
                or BundleError(f"{graph} cannot be loaded: export the model again ({_line(error)})")
            ) from error
        loaded = session.get_providers()[0]
        if self._cuda_demanded and loaded != _PROVIDERS["cuda"]:
            raise EnvironmentFailed(
                f"CUDA was asked for and {loaded} loaded: check driver and CUDA libraries, or use --provider cpu"
            )
        return session

    def _failures(self) -> tuple[type[Exception], ...]:
        state = self._onnxruntime.capi.onnxruntime_pybind11_state
        return (
            state.EPFail,
            state.Fail,
            state.InvalidArgument,
            state.InvalidGraph,
            state.InvalidProtobuf,
            state.NotImplemented,
            state.RuntimeException,
        )


def _import_onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentFailed(
            'ONNX Runtime is not installed: pip install "memscan[cpu]", or "memscan[gpu]" for NVIDIA GPUs'
        ) from error
    return onnxruntime


def _choose_providers(onnxruntime: ModuleType, execution: Execution) -> list[str]:
    cpu, cuda = _PROVIDERS["cpu"], _PROVIDERS["cuda"]
    available = cuda in onnxruntime.get_available_providers()
    if execution.provider == "cuda" and not available:
        raise EnvironmentFailed(
            'this ONNX Runtime has no CUDA: pip install "memscan[gpu]" instead of "memscan[cpu]", or use --provider cpu'
        )
    return [cuda, cpu] if available and execution.provider != "cpu" else [cpu]


def _usable_cores() -> int:
    # The affinity mask, unlike the core count, knows what a container or taskset leaves to this process.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_failure(graph: Path, error: Exception) -> EnvironmentFailed | None:
    if any(wording in str(error).lower() for wording in _OUT_OF_MEMORY):
        return EnvironmentFailed(f"out of memory in {graph.name}: use a smaller --batch-size ({_line(error)})")
    return None


def _device_failure(graph: Path, error: Exception) -> EnvironmentFailed | None:
    if any(library in str(error).lower() for library in ("cuda", "cudnn", "cublas")):
        return EnvironmentFailed(f"CUDA failed to load {graph.name}: mend it, or use --provider cpu ({_line(error)})")
    return None


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
