"""ONNX Runtime, on the CPU or on CUDA. Where CUDA is asked for or installed, it is CUDA or an error, never the CPU.

Failures come out as one line: out of memory, a graph that cannot be loaded, a device that does not work.
"""

import contextlib
import dataclasses
import functools
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memscan.scanner import graph_names
from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import BundleError, EnvironmentFailed, OutOfMemory
from memscan.scanner.runtimes.cores import usable_cores
from memscan.scanner.runtimes.failures import first_line, import_failure, is_out_of_memory
from memscan.scanner.runtimes.installed import is_installed
from memscan.scanner.settings import Execution

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# Both extras bring a package of the same name, of which the one installed last hides the other.
_INSTALL = 'pip install "memscan[cpu]" or, for NVIDIA GPUs and in an environment of its own, "memscan[gpu]"'


@dataclasses.dataclass(frozen=True)
class OnnxValue:
    """An array on the device; `host` is the array itself where it was uploaded to the CPU, which copies nothing.

    What ONNX Runtime gives back of such a value lives no longer than the value.
    """

    ort: Any
    shape: tuple[int, ...]
    host: NDArray[Any] | None = None


class OnnxRuntime:
    """The graphs of one bundle as ONNX Runtime sessions, whose inputs and outputs stay on the device.

    Raises:
        EnvironmentFailed: no ONNX Runtime, or CUDA was asked for and is not there.
    """

    def __init__(self, bundle: Bundle, execution: Execution) -> None:
        self._bundle = bundle
        self._onnxruntime = _import_onnxruntime()
        self._cuda_demanded = execution.provider == "cuda"
        self._providers = _choose_providers(self._onnxruntime, execution)
        self._options = self._onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = execution.threads or usable_cores()
        self._options.log_severity_level = 4  # what ONNX Runtime logs as an error it also raises
        self._sessions: dict[str, Any] = {}
        self._ran: set[str] = set()

    @property
    def device(self) -> str:
        """The execution provider that really loaded, by ONNX Runtime's name."""
        provider: str = self._session(graph_names.TEXT_ENCODER).get_providers()[0]
        return provider

    @property
    def remark(self) -> str | None:
        return None

    @property
    def loaded(self) -> dict[str, str]:
        return {graph: self._sessions[graph].get_providers()[0] for graph in sorted(self._ran)}

    @property
    def usual_batch(self) -> int:
        return 64 if self._on_cuda else 8

    def upload(self, array: NDArray[Any]) -> OnnxValue:
        array = np.asarray(array, order="C")
        with self._mapped("upload"):
            ort = self._onnxruntime.OrtValue.ortvalue_from_numpy(array, self._where, 0)
        return OnnxValue(ort, array.shape, None if self._on_cuda else array)

    def download(self, value: OnnxValue) -> NDArray[Any]:
        if value.host is not None:
            return value.host
        with self._mapped("download"):
            array: NDArray[Any] = value.ort.numpy()
        return array

    def run(self, graph: str, inputs: Mapping[str, OnnxValue]) -> dict[str, OnnxValue]:
        session = self._session(graph)
        self._ran.add(graph)
        names = [output.name for output in session.get_outputs()]
        with self._mapped(graph):
            binding = session.io_binding()
            for name, value in inputs.items():
                binding.bind_ortvalue_input(name, value.ort)
            for name in names:
                binding.bind_output(name, self._where, 0)  # in memory of its own, taken when the shape is known
            session.run_with_iobinding(binding)
            outputs = binding.get_outputs()
        return {name: OnnxValue(ort, tuple(ort.shape())) for name, ort in zip(names, outputs, strict=True)}

    @property
    def _on_cuda(self) -> bool:
        return self.device == _PROVIDERS["cuda"]

    @functools.cached_property
    def _where(self) -> str:
        return "cuda" if self._on_cuda else "cpu"

    @contextlib.contextmanager
    def _mapped(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._failures() as error:
            raise _memory_failure(what, error) or EnvironmentFailed(f"{what} failed: {first_line(error)}") from error

    def _session(self, graph: str) -> Any:
        if graph not in self._sessions:
            self._sessions[graph] = self._load(graph)
        return self._sessions[graph]

    def _load(self, graph: str) -> Any:
        file = self._file(graph)
        try:
            session = self._onnxruntime.InferenceSession(file, self._options, providers=self._providers)
        except self._failures() as error:
            raise (
                _memory_failure(graph, error)
                or _device_failure(graph, error)
                or BundleError(f"{file} cannot be loaded: export the model again ({first_line(error)})")
            ) from error
        loaded = session.get_providers()[0]
        if len(self._providers) > 1 and loaded != _PROVIDERS["cuda"]:
            why = "CUDA was asked for" if self._cuda_demanded else "this ONNX Runtime has CUDA"
            raise EnvironmentFailed(f"{why} and {loaded} loaded: see memscan doctor, or use --provider cpu")
        return session

    def _file(self, graph: str) -> Path:
        """On the CPU, where a bundle has it, the variant with sliced attention: faster, in a fraction of the memory.

        On CUDA its loops would start their many small kernels one by one from the host.
        """
        sliced = graph_names.sliced(graph)
        on_cpu = len(self._providers) == 1
        return self._bundle.file(sliced if on_cpu and sliced in self._bundle.files else graph)

    def _failures(self) -> tuple[type[Exception], ...]:
        state = self._onnxruntime.capi.onnxruntime_pybind11_state
        return (
            RuntimeError,  # of a run with bound inputs, which raises no narrower class
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
        from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
    except (ImportError, OSError) as error:
        raise import_failure("ONNX Runtime", "onnxruntime", error, _INSTALL) from error
    return onnxruntime


def _choose_providers(onnxruntime: ModuleType, execution: Execution) -> list[str | tuple[str, dict[str, str]]]:
    cpu, cuda = _PROVIDERS["cpu"], _PROVIDERS["cuda"]
    available = cuda in onnxruntime.get_available_providers()
    if execution.provider == "cuda" and not available:
        raise EnvironmentFailed(
            'this ONNX Runtime has no CUDA: use --provider cpu, or "memscan[gpu]" in an environment of its own'
        )
    if execution.provider == "auto" and not available and is_installed("onnxruntime-gpu"):
        raise EnvironmentFailed(
            "onnxruntime-gpu is installed, but the onnxruntime that loaded has no CUDA: see memscan doctor, "
            "or use --provider cpu"
        )
    if not available or execution.provider == "cpu":
        return [cpu]
    with contextlib.redirect_stdout(io.StringIO()):  # what does not load is said when a session fails
        onnxruntime.preload_dlls(directory="")  # NVIDIA's Python packages, as onnxruntime-gpu[cuda,cudnn] brings them
    # An audit's float32 is IEEE's: TensorFloat-32, ONNX Runtime's default on CUDA, has a mantissa of 10 bits.
    return [(cuda, {"use_tf32": "0"}), cpu]


def _memory_failure(graph: str, error: Exception) -> OutOfMemory | None:
    if is_out_of_memory(error):
        return OutOfMemory(f"out of memory in {graph} ({first_line(error)})")
    return None


def _device_failure(graph: str, error: Exception) -> EnvironmentFailed | None:
    if any(library in str(error).lower() for library in ("cuda", "cudnn", "cublas")):
        return EnvironmentFailed(f"CUDA failed to load {graph}: mend it, or use --provider cpu ({first_line(error)})")
    return None
