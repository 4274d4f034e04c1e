"""Which error a complaint of TensorRT's is: of memory, of the device, or of the graph."""

from memscan.scanner.errors import EnvironmentFailed, OutOfMemory
from memscan.scanner.runtimes.failures import is_out_of_memory


def failure(graph: str, reason: str) -> EnvironmentFailed:
    """The error of a graph that failed for `reason`, on the device."""
    return memory_failure(graph, reason) or EnvironmentFailed(f"{graph} failed: {reason}")


def memory_failure(graph: str, reason: str) -> OutOfMemory | None:
    """The error of a graph whose `reason` to fail is too little memory."""
    if is_out_of_memory(reason):
        return OutOfMemory(f"out of memory in {graph} ({reason})")
    return None
