"""Which complaints are of memory, in the words of every library that a runtime calls."""

import pytest

from memscan.scanner.errors import OutOfMemory
from memscan.scanner.runtimes.failures import first_line, is_out_of_memory

OUT_OF_MEMORY = {
    "ONNX Runtime, CPU": "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer",
    "ONNX Runtime, C++": "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc",
    "ONNX Runtime, Windows": "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bad allocation",
    "ONNX Runtime, arena": "Available memory of 1024 is smaller than requested bytes of 4096",
    "ONNX Runtime, CUDA": "CUDA failure 2: out of memory ; GPU=0 ; hostname=x",
    "CUDA": "cudaMallocAsync: cudaErrorMemoryAllocation, what it means",
    "CUDA driver": "CUDA_ERROR_OUT_OF_MEMORY",
    "cuBLAS": "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    "cuDNN": "CUDNN_STATUS_ALLOC_FAILED",
    "TensorRT": "[defaultAllocator.cpp::48] Error Code 1: Cuda Runtime (In allocateAsync: out of memory)",
    "TensorRT, class": "Error Code 2: OutOfMemory (Requested size was 4096 bytes.)",
    "torch, CPU": "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried",
    "torch, Windows": "DefaultCPUAllocator: not enough memory: you tried to allocate 4096 bytes.",
    "torch, CUDA": "CUDA out of memory. Tried to allocate 20.00 MiB.",
    "the system": "[Errno 12] Cannot allocate memory",
}


@pytest.mark.parametrize("words", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_out_of_memory_is_known_by_each_librarys_words(words: str) -> None:
    assert is_out_of_memory(words)
    assert is_out_of_memory(RuntimeError(f"in a node\n{words}"))


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemory("the plan is for batches up to 8, not 9")])
def test_out_of_memory_is_known_by_its_class(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "words", ["CUDA failure 700: an illegal memory access was encountered", "Non-zero status code", ""]
)
def test_other_complaints_are_not_of_memory(words: str) -> None:
    assert not is_out_of_memory(RuntimeError(words))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one line"), "one line"),
        (ValueError("\n  first \nsecond"), "first "),
        (ValueError(), "ValueError"),
        (ValueError(" \n "), "ValueError"),
    ],
    ids=repr,
)
def test_first_line_is_never_empty(error: Exception, line: str) -> None:
    assert first_line(error) == line
