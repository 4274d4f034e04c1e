"""Which engines can run a bundle here: what is installed, told without loading torch or TensorRT, and what it lacks."""

from typing import NamedTuple

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import first_line
from memscan.scanner.runtimes.installed import installed_version

_BFLOAT16_ON_CPU = "has no bfloat16 product on the CPU, which the bundle needs"


class EngineHere(NamedTuple):
    """An engine by its name on the command line, and the device that it would use.

    `version` is None where it is not installed; `lacks` says why it cannot run the bundle, "" where it can.
    """

    engine: str
    device: str
    version: str | None
    lacks: str = ""


def engines_here(bundle: Bundle) -> tuple[EngineHere, ...]:
    """Every engine on every device that memscan knows. Whether a GPU and its driver work is not tried."""
    return (
        *_onnxruntime(bundle),
        _packaged("torch", "CPU or CUDA", ("torch", "onnx")),
        _packaged("tensorrt", "CUDA", ("tensorrt-cu13", "cuda-bindings")),
        _packaged("tensorrt-rtx", "CUDA", ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs", "cuda-bindings")),
    )


def _onnxruntime(bundle: Bundle) -> tuple[EngineHere, EngineHere]:
    try:
        from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
    except (ImportError, OSError) as error:  # OSError: a library that it loads is missing
        missing = isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime"
        lacks = 'not installed: pip install "memscan[{}]"' if missing else f"does not load: {first_line(error)}"
        cpu, cuda = (EngineHere("onnxruntime", device, None, lacks.format(device.lower())) for device in ("CPU", "GPU"))
        return cpu, cuda._replace(device="CUDA")
    version: str = onnxruntime.__version__
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return (
        EngineHere("onnxruntime", "CPU", version, _BFLOAT16_ON_CPU if bundle.dtypes.compute == "bfloat16" else ""),
        EngineHere(
            "onnxruntime",
            "CUDA",
            version,
            "" if has_cuda else 'has no CUDA: "memscan[gpu]" in an environment of its own has',
        ),
    )


def _packaged(engine: str, device: str, packages: tuple[str, ...]) -> EngineHere:
    """An engine that needs these packages, of which the first has its version."""
    version = installed_version(packages[0])
    if any(installed_version(package) is None for package in packages):
        return EngineHere(engine, device, version, f'not installed: pip install "memscan[{engine}]"')
    return EngineHere(engine, device, version)
