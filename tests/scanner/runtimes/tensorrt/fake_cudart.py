"""cuda-bindings' runtime module as a stand-in on the host: memory, one queue for each stream, and captured graphs.

It shows that the calls are made in an order that works, with live memory, and that results are waited for. It does not
show that a GPU does the same. Work is queued and only done when a stream is waited for; memory that was given back is
overwritten once that is reached, so that use after free and missing waits change results.
"""

import ctypes
import enum
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

Work = Callable[[], None]


class Error(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100
    cudaErrorStreamCaptureInvalidated = 901


class FakeCudart:
    """Names as in `cuda.bindings.runtime`; `memory` is the GPU's size in bytes, `captures` whether captures work."""

    cudaError_t = Error
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1

    def __init__(self, memory: int = 2**30, devices: int = 1) -> None:
        self.memory = memory
        self.captures = True
        self._devices = devices
        self._buffers: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self._queues: dict[int, list[Work]] = {}
        self._captures: dict[int, list[Work]] = {}
        self.launches = 0

    @property
    def used(self) -> int:
        return sum(map(len, self._buffers.values()))

    def enqueue(self, stream: int, work: Work) -> None:
        """What a library does that queues work on a stream."""
        self._captures.get(stream, self._queues[stream]).append(work)

    def is_capturing(self, stream: int) -> bool:
        return stream in self._captures

    def cudaGetDeviceCount(self) -> tuple[Error, int]:
        return (Error.cudaSuccess if self._devices else Error.cudaErrorNoDevice), self._devices

    def cudaSetDevice(self, device: int) -> tuple[Error]:
        return (Error.cudaSuccess,)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Error, Any]:
        return Error.cudaSuccess, SimpleNamespace(name=b"Fake GPU", major=8, minor=6)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Error, int]:
        stream = 1 + len(self._queues)
        self._queues[stream] = []
        return Error.cudaSuccess, stream

    def cudaMallocAsync(self, size: int, stream: int) -> tuple[Error, int]:
        if self.used + size > self.memory:
            return Error.cudaErrorMemoryAllocation, 0
        buffer = ctypes.create_string_buffer(b"\xff" * size, size)  # NaN, until something is written
        self._buffers[ctypes.addressof(buffer)] = buffer
        return Error.cudaSuccess, ctypes.addressof(buffer)

    def cudaFreeAsync(self, pointer: int, stream: int) -> tuple[Error]:
        assert not self.is_capturing(stream), "memory was given back within a capture"
        buffer = self._buffers.pop(pointer)
        self.enqueue(stream, lambda: ctypes.memset(buffer, 0xFF, len(buffer)))
        return (Error.cudaSuccess,)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[Error]:
        self.enqueue(stream, lambda: ctypes.memmove(target, source, size))
        return (Error.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Error]:
        assert not self._captures, "waited for a stream while capturing"
        queued, self._queues[stream] = self._queues[stream], []
        for work in queued:
            work()
        return (Error.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Error]:
        self._captures[stream] = []
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Error, list[Work]]:
        recorded = self._captures.pop(stream)
        return (Error.cudaSuccess if self.captures else Error.cudaErrorStreamCaptureInvalidated), recorded

    def cudaGraphInstantiate(self, graph: list[Work], flags: int) -> tuple[Error, list[Work]]:
        return Error.cudaSuccess, list(graph)

    def cudaGraphDestroy(self, graph: list[Work]) -> tuple[Error]:
        return (Error.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: list[Work]) -> tuple[Error]:
        return (Error.cudaSuccess,)

    def cudaGraphLaunch(self, graph: list[Work], stream: int) -> tuple[Error]:
        self.launches += 1
        for work in graph:
            self.enqueue(stream, work)
        return (Error.cudaSuccess,)

    def cudaGetErrorName(self, error: Error) -> tuple[Error, bytes]:
        return Error.cudaSuccess, error.name.encode()

    def cudaGetErrorString(self, error: Error) -> tuple[Error, bytes]:
        return Error.cudaSuccess, b"what it means"
