"""TensorRT's Python module as a stand-in on the host: a plan is the path of its graph, which ONNX Runtime runs.

It shows that memscan calls things in the order that TensorRT's manual asks for, and that results get where they belong.
It does not show that TensorRT builds or runs a graph: the RTX flavour's real builder is tested elsewhere. A test holds
that every name used here is one that the real module has.
"""

import ctypes
import enum
import json
from types import SimpleNamespace
from typing import Any

import numpy as np

from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from tests.scanner.runtimes.tensorrt.fake_cudart import FakeCudart

_DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
_SCRATCH_BYTES = 256  # an image


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class ILogger:
    Severity = SimpleNamespace(ERROR="error", INTERNAL_ERROR="internal error", WARNING="warning")


class IProgressMonitor:
    pass


class FakeTensorRt:
    """A module for one fake GPU. `built` lists the graphs that were built, `reads` the timing caches that were read."""

    __version__ = "10.13.3"
    ILogger = ILogger
    IProgressMonitor = IProgressMonitor
    TensorIOMode = TensorIOMode
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=0)
    BuilderFlag = SimpleNamespace(TF32="tf32")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="capture")
    ComputeCapability = SimpleNamespace(__members__={"NONE": 0, "SM75": 75, "SM86": 86, "SM120": 120}, SM86=86)

    def __init__(self, cudart: FakeCudart) -> None:
        self.cudart = cudart
        self.built: list[str] = []
        self.reads: list[bytes] = []

    def Builder(self, logger: ILogger) -> "Builder":
        return Builder(self)

    def OnnxParser(self, network: "INetworkDefinition", logger: ILogger) -> "OnnxParser":
        return OnnxParser(network)

    def Runtime(self, logger: ILogger) -> "Runtime":
        return Runtime(self, logger)

    def nptype(self, dtype: Any) -> Any:
        return dtype


class INetworkDefinition:
    path = ""

    @property
    def _session(self) -> Any:
        return _open(self.path)

    @property
    def num_inputs(self) -> int:
        return len(self._session.get_inputs())

    @property
    def num_outputs(self) -> int:
        return len(self._session.get_outputs())

    def get_input(self, index: int) -> Any:
        return _tensor(self._session.get_inputs()[index])

    def get_output(self, index: int) -> Any:
        return _tensor(self._session.get_outputs()[index])


class OnnxParser:
    def __init__(self, network: INetworkDefinition) -> None:
        self._network = network

    def parse_from_file(self, model: str) -> bool:
        self._network.path = model
        return True


class Builder:
    def __init__(self, trt: FakeTensorRt) -> None:
        self._trt = trt

    def create_network(self, flags: int) -> INetworkDefinition:
        assert flags == 1, "strongly typed"
        return INetworkDefinition()

    def create_builder_config(self) -> "IBuilderConfig":
        return IBuilderConfig(self._trt)

    def create_optimization_profile(self) -> "IOptimizationProfile":
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: "IBuilderConfig") -> bytes:
        self._trt.built.append(network.path)
        config.progress_monitor.phase_start("build", None, 1)
        assert config.progress_monitor.step_complete("build", 0)
        config.progress_monitor.phase_finish("build")
        largest = {name: shapes[2] for name, shapes in config.profile.shapes.items()}
        return json.dumps([network.path, largest]).encode()


class IBuilderConfig:
    num_compute_capabilities = 0
    progress_monitor: Any = None

    def __init__(self, trt: FakeTensorRt) -> None:
        self._trt = trt
        self.profile: Any = None

    def clear_flag(self, flag: str) -> None:
        assert flag == "tf32"

    def set_compute_capability(self, capability: int, index: int) -> None:
        assert index < self.num_compute_capabilities

    def add_optimization_profile(self, profile: "IOptimizationProfile") -> None:
        self.profile = profile

    def create_timing_cache(self, content: bytes) -> "ITimingCache":
        self._trt.reads.append(bytes(content))
        return ITimingCache(content)

    def set_timing_cache(self, cache: "ITimingCache", ignore_mismatch: bool) -> None:
        cache.content += b"+"


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def combine(self, other: "ITimingCache", ignore_mismatch: bool) -> None:
        self.content = max(self.content, other.content)

    def serialize(self) -> bytes:
        return self.content


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        assert len(shapes) == 3
        self.shapes[name] = shapes


class Runtime:
    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, content: memoryview) -> "ICudaEngine":
        path, largest = json.loads(bytes(content))
        return ICudaEngine(self._trt, self._logger, path, largest)


class ICudaEngine:
    def __init__(self, trt: FakeTensorRt, logger: Any, path: str, largest: dict[str, list[int]]) -> None:
        self.trt, self.logger, self.session, self.largest = trt, logger, _open(path), largest
        tensors = [
            (mode, _tensor(value))
            for mode, values in (
                (TensorIOMode.INPUT, self.session.get_inputs()),
                (TensorIOMode.OUTPUT, self.session.get_outputs()),
            )
            for value in values
        ]
        self.tensors = {tensor.name: tensor for _, tensor in tensors}
        self._modes = {tensor.name: mode for mode, tensor in tensors}

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self._modes[name]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.tensors[name].dtype

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def create_runtime_config(self) -> "IRuntimeConfig":
        return IRuntimeConfig()

    def create_execution_context(self, strategy: Any) -> "IExecutionContext":
        assert isinstance(strategy, IRuntimeConfig) or strategy == "user managed"
        return IExecutionContext(self)


class IRuntimeConfig:
    cuda_graph_strategy: Any = None

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        assert strategy == "user managed"


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._scratch = 0
        self._has_run = False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        largest = self._engine.largest.get(name, shape)
        if any(size > limit for size, limit in zip(shape, largest, strict=True)):
            self._engine.logger.log(ILogger.Severity.ERROR, f"{name} {shape} is outside\nthe profile")
            return False
        self._shapes[name] = shape
        self._has_run = False
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._batch if size == -1 else size for size in self._engine.tensors[name].shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        return _SCRATCH_BYTES * self._batch

    def set_device_memory(self, address: int, size: int) -> None:
        self._scratch = size

    def execute_async_v3(self, stream: int) -> bool:
        assert self._scratch >= _SCRATCH_BYTES * self._batch, "too little scratch memory"
        cudart = self._engine.trt.cudart
        assert self._has_run or not cudart.is_capturing(stream), "captured before the first run with these shapes"
        self._has_run = True
        addresses, shapes = dict(self._addresses), dict(self._shapes)
        cudart.enqueue(stream, lambda: self._compute(addresses, shapes))
        return True

    @property
    def _batch(self) -> int:
        assert len(self._shapes) == len(self._engine.session.get_inputs()), "a shape is missing"
        known = self._engine.tensors
        return max(
            size
            for name, shape in self._shapes.items()
            for size, wanted in zip(shape, known[name].shape, strict=True)
            if wanted == -1
        )

    def _compute(self, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> None:
        tensors = self._engine.tensors
        inputs = {}
        for name, shape in shapes.items():
            dtype = np.dtype(tensors[name].dtype)
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            inputs[name] = np.frombuffer(ctypes.string_at(addresses[name], size), dtype).reshape(shape)
        names = [output.name for output in self._engine.session.get_outputs()]
        for name, value in zip(names, self._engine.session.run(names, inputs), strict=True):
            ctypes.memmove(addresses[name], np.ascontiguousarray(value).ctypes.data, value.nbytes)


def _open(path: str) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def _tensor(value: Any) -> Any:
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return SimpleNamespace(name=value.name, dtype=_DTYPES[value.type], shape=shape)
