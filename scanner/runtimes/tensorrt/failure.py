"""Which error a complaint of TensorRT's is: of memory, of the device, or of the graph."""

from memscan.scanner.errors import EnvironmentFailed, OutOfMemory

_OUT_OF_MEMORY = ("out of memory", "outofmemory", "out_of_memory", "memory allocation", "memoryallocation", "bad_alloc")
"""How TensorRT and CUDA word it, in lower case."""


def failure(graph: str, reason: str) -> EnvironmentFailed:
    """The error of a graph that failed for `reason`, on the device."""
    return memory_failure(graph, reason) or EnvironmentFailed(f"{graph} failed: {reason}")


def memory_failure(graph: str, reason: str) -> OutOfMemory | None:
    """The error of a graph whose `reason` to fail is too little memory."""
    if any(wording in reason.lower() for wording in _OUT_OF_MEMORY):
        return OutOfMemory(f"out of memory in {graph} ({reason})")
    return None
