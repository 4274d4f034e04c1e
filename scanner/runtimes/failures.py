"""What errors of runtimes and libraries mean: memory that ran out, or a package that is missing or does not load."""

from memscan.scanner.errors import EnvironmentFailed, OutOfMemory, first_line

__all__ = ["first_line", "import_failure", "is_out_of_memory"]

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


def import_failure(what: str, package: str, error: Exception, install: str) -> EnvironmentFailed:
    """What an import that failed means: a package that is not there, or one that is there and does not load.

    Args:
        what: what was to be loaded, e.g. "ONNX Runtime".
        package: the one that it is; another one that lacks is named.
        install: how to install it.
    """
    if is_out_of_memory(error):
        return OutOfMemory(f"out of memory while {what} was loaded ({first_line(error)})")
    if isinstance(error, ModuleNotFoundError):
        lacking = "is not installed" if error.name == package else f"needs {error.name}"
        return EnvironmentFailed(f"{what} {lacking}: {install}")
    cuda = any(library in str(error).lower() for library in ("cuda", "cudnn", "cublas", "libnv"))
    needs = "; it needs the libraries of CUDA 13 and cuDNN 9" if cuda else ""
    return EnvironmentFailed(f"{what} is installed and does not load: {first_line(error)}{needs}")
