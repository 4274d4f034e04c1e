"""The GPU through cuda-bindings: arrays in its memory, copies, and streams of work captured as CUDA graphs.

All work is queued on one stream, in order, so that memory can be given back while kernels still wait to use it.
"""

import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.errors import EnvironmentFailed, OutOfMemory
from memscan.scanner.runtimes.failures import import_failure


class DeviceArray:
    """An array in the GPU's memory, which is given back when nobody holds the array any more."""

    def __init__(self, gpu: "Gpu", shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype
        self.nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self.pointer = gpu.allocate(self.nbytes)
        weakref.finalize(self, gpu.free, self.pointer).atexit = False


class Gpu:
    """The first GPU that CUDA shows.

    Raises:
        EnvironmentFailed: cuda-bindings is not installed, or there is no GPU that works.
    """

    def __init__(self) -> None:
        self._cudart = _import_cudart()
        if not self._call("cudaGetDeviceCount"):
            raise EnvironmentFailed("CUDA shows no GPU")
        self._call("cudaSetDevice", 0)
        properties = self._call("cudaGetDeviceProperties", 0)
        self.name: str = properties.name.decode()
        self.compute_capability = f"{properties.major}.{properties.minor}"
        self.stream = self._call("cudaStreamCreateWithFlags", self._cudart.cudaStreamNonBlocking)
        self._capturing = self._call("cudaStreamCreateWithFlags", self._cudart.cudaStreamNonBlocking)

    def allocate(self, nbytes: int) -> int:
        """Address of fresh memory, for work on the stream.

        Raises:
            OutOfMemory: there is not enough.
        """
        return int(self._call("cudaMallocAsync", max(nbytes, 1), self.stream))

    def free(self, pointer: int) -> None:
        """Give memory back, once what is queued on the stream is done."""
        self._cudart.cudaFreeAsync(pointer, self.stream)

    def upload(self, array: NDArray[Any]) -> DeviceArray:
        """A copy of an array on the GPU; the array may be changed as soon as this returns."""
        value = DeviceArray(self, array.shape, array.dtype)
        contiguous = np.ascontiguousarray(array)  # at least one-dimensional, unlike the array itself
        self._copy(value.pointer, contiguous.ctypes.data, contiguous.nbytes, "cudaMemcpyHostToDevice")
        self.synchronize()
        return value

    def download(self, value: DeviceArray) -> NDArray[Any]:
        """A copy of an array on the host, after all that is queued."""
        array = np.empty(value.shape, value.dtype)
        self._copy(array.ctypes.data, value.pointer, value.nbytes, "cudaMemcpyDeviceToHost")
        self.synchronize()
        return array

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Queue a copy between arrays of equal shape."""
        self._copy(target.pointer, source.pointer, source.nbytes, "cudaMemcpyDeviceToDevice")

    def capture(self, enqueue: Callable[[Any], None]) -> "Callable[[], None]":
        """Record what `enqueue` queues on the stream that it is given; the result queues all of it again.

        It has a stream of its own, so that memory given back in the meantime does not become part of the recording.

        Raises:
            EnvironmentFailed: something was queued that cannot be recorded.
        """
        self.synchronize()
        self._call("cudaStreamBeginCapture", self._capturing, self._mode())
        try:
            enqueue(self._capturing)
        finally:
            graph = self._call("cudaStreamEndCapture", self._capturing)
        executable = self._call("cudaGraphInstantiate", graph, 0)
        self._call("cudaGraphDestroy", graph)

        def launch() -> None:
            self._call("cudaGraphLaunch", executable, self.stream)

        weakref.finalize(launch, self._cudart.cudaGraphExecDestroy, executable).atexit = False
        return launch

    def synchronize(self) -> None:
        """Wait for all that is queued.

        Raises:
            OutOfMemory, EnvironmentFailed: some of it failed.
        """
        self._call("cudaStreamSynchronize", self.stream)

    def _mode(self) -> Any:
        # Other threads may allocate memory while this one records.
        return self._cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal

    def _copy(self, target: int, source: int, nbytes: int, kind: str) -> None:
        if nbytes:
            direction = getattr(self._cudart.cudaMemcpyKind, kind)
            self._call("cudaMemcpyAsync", target, source, nbytes, direction, self.stream)

    def _call(self, function: str, *arguments: Any) -> Any:
        """Call the CUDA runtime; its only result beside the status, if it has one."""
        status, *results = getattr(self._cudart, function)(*arguments)
        if status != self._cudart.cudaError_t.cudaSuccess:
            _, name = self._cudart.cudaGetErrorName(status)
            _, text = self._cudart.cudaGetErrorString(status)
            reason = f"{function}: {name.decode()}, {text.decode()}"
            if status == self._cudart.cudaError_t.cudaErrorMemoryAllocation:
                raise OutOfMemory(f"out of GPU memory ({reason})")
            raise EnvironmentFailed(f"CUDA failed: {reason}")
        return results[0] if results else None


def _import_cudart() -> ModuleType:
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError) as error:
        install = 'pip install "memscan[tensorrt]" or "memscan[tensorrt-rtx]"'
        raise import_failure("cuda-bindings", "cuda", error, install) from error
    return runtime
