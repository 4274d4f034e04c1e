"""What the errors of runtimes and libraries say: their first line, and whether it is memory that ran out."""

from memscan.scanner.errors import OutOfMemory, first_line

__all__ = ["first_line", "is_out_of_memory"]

_OUT_OF_MEMORY = (
    "out of memory",
    "out_of_memory",
    "outofmemory",
    "alloc_failed",
    "bad_alloc",
    "bad allocation",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate",
    "is smaller than requested",
    "memory allocation",
    "memoryallocation",
    "not enough memory",
)
"""How ONNX Runtime, CUDA, cuBLAS, cuDNN, TensorRT, torch and the system word it, in lower case."""


def is_out_of_memory(error: BaseException | str) -> bool:
    """Whether an error, or the text of a complaint, says that memory ran out."""
    if isinstance(error, (MemoryError, OutOfMemory)):
        return True
    text = str(error).lower()
    return any(wording in text for wording in _OUT_OF_MEMORY)
