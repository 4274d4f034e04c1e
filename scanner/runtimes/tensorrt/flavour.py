"""The two packages that build and run plans, TensorRT and TensorRT-RTX, behind one name: their API is the same.

TensorRT times its kernels on the GPU that will run the plan. TensorRT-RTX compiles ahead of time, without a GPU, for a
set of compute capabilities, and finishes the work on the GPU when the plan is first run.
"""

import dataclasses
import importlib
from types import ModuleType
from typing import Any

from memscan.scanner.errors import EnvironmentFailed, UsageError
from memscan.scanner.runtimes.failures import import_failure

_MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx_bindings"}
_TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
_OLDEST = (10, 13)


@dataclasses.dataclass(frozen=True)
class Flavour:
    """An imported package: `engine` is its word on the command line, `trt` its module."""

    engine: str
    trt: ModuleType

    @property
    def version(self) -> str:
        version: str = self.trt.__version__
        return version

    @property
    def title(self) -> str:
        """Name and version, as people write them."""
        return f"{_TITLES[self.engine]} {self.version}"

    @property
    def ahead_of_time(self) -> bool:
        """Whether plans are built for compute capabilities, and not for the GPU at hand."""
        return self.engine == "tensorrt-rtx"

    @property
    def buildable_capabilities(self) -> list[str]:
        """The compute capabilities that plans can be built for ahead of time, ascending, as "8.6"."""
        numbers = (name.removeprefix("SM") for name in self.trt.ComputeCapability.__members__)
        return [f"{int(number) // 10}.{int(number) % 10}" for number in sorted(filter(str.isdigit, numbers), key=int)]

    def logger(self) -> Any:
        """A logger that prints nothing and keeps what is an error; its `reason()` is the first one, in one line."""
        levels = self.trt.ILogger.Severity
        failures = {levels.ERROR, levels.INTERNAL_ERROR}

        class Logger(self.trt.ILogger):  # type: ignore[name-defined]
            def __init__(self) -> None:
                super().__init__()
                self._messages: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                if severity in failures:
                    self._messages.append(message)

            def reason(self) -> str:
                """The first error since the last call, without line breaks."""
                first = self._messages[0] if self._messages else "it gave no reason"
                self._messages.clear()
                return " ".join(first.split())

        return Logger()


def load_flavour(engine: str) -> Flavour:
    """Import the package behind "tensorrt" or "tensorrt-rtx".

    Raises:
        EnvironmentFailed: it is not installed, does not load, or is too old.
        UsageError: there is no such engine.
    """
    if engine not in _MODULES:
        raise UsageError(f"{engine} has no plans: the engines that have are {' and '.join(_MODULES)}")
    try:
        trt = importlib.import_module(_MODULES[engine])
    except (ImportError, OSError) as error:  # OSError: a library that it loads is missing
        install = f'pip install "memscan[{engine}]"; to run, it needs an NVIDIA GPU as well'
        raise import_failure(_TITLES[engine], _MODULES[engine], error, install) from error
    flavour = Flavour(engine, trt)
    if engine == "tensorrt" and tuple(int(part) for part in flavour.version.split(".")[:2]) < _OLDEST:
        raise EnvironmentFailed(
            f'{flavour.title} is too old, 10.13 is the first that will do: pip install --upgrade "memscan[{engine}]"'
        )
    return flavour
