"""Runtimes that a scan can use. Each imports its library only when it is opened."""

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import UsageError
from memscan.scanner.notes import Note, note
from memscan.scanner.runtimes.failures import import_failure
from memscan.scanner.runtimes.runtime import Runtime
from memscan.scanner.settings import Execution


def open_runtime(bundle: Bundle, execution: Execution, note: Note = note) -> Runtime:
    """The runtime that `execution` asks for; `note` is given the lines that the user should read.

    Raises:
        UsageError: there is no such engine.
        EnvironmentFailed: it is not installed, or not on the device that was asked for.
    """
    match execution.engine:
        case "onnxruntime":
            from memscan.scanner.runtimes.onnx_runtime import OnnxRuntime

            return OnnxRuntime(bundle, execution)
        case "tensorrt" | "tensorrt-rtx":
            from memscan.scanner.runtimes.tensorrt.runtime import TensorRtRuntime

            return TensorRtRuntime(bundle, execution, note)
        case "torch":
            return _torch_runtime(bundle, execution)
        case unknown:
            raise UsageError(f"no engine is called {unknown}")


def _torch_runtime(bundle: Bundle, execution: Execution) -> Runtime:
    try:
        from memscan.kernels.torch_runtime import TorchRuntime
    except (ImportError, OSError) as error:  # OSError: a library that it loads is missing
        raise import_failure("the torch engine", "memscan.kernels", error, 'pip install "memscan[torch]"') from error
    return TorchRuntime(bundle, execution)
