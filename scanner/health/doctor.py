"""What an installation has, what it lacks, and how to get it. Nothing is changed, and no model is loaded.

What a wheel wants of CUDA and cuDNN is read from its own metadata; what is there is asked of the libraries themselves.
"""

import ctypes
import platform
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from typing import Any, Literal, NamedTuple

from memscan.scanner.errors import first_line
from memscan.scanner.runtimes.cores import usable_cores
from memscan.scanner.runtimes.installed import installed_version, is_installed

State = Literal["ok", "missing", "broken"]

_CUDA_PACKAGE = re.compile(
    r"(nvidia[a-z_-]+?)(?:[-_]cu(\d+))?\s*(?:\(?[~=><!]=?\s*([\d.]+)[^;]*)?;.*extra == .(?:cuda|cudnn)."
)
_LOAD: Callable[[str], Any] = ctypes.CDLL


class Finding(NamedTuple):
    """One thing that was looked at; `advice` says how to mend it, where it is not "ok".

    "missing" is what a CPU installation need not have; "broken" is what cannot be as it was meant.
    """

    what: str
    state: State
    said: str
    advice: str = ""


def examine(load: Callable[[str], Any] = _LOAD) -> list[Finding]:
    """Look at everything.

    Args:
        load: opens a shared library by its name, as ctypes.CDLL.
    """
    return [
        Finding("memscan", "ok", f"{installed_version('memscan')}, Python {platform.python_version()}"),
        Finding("cores", "ok", f"{usable_cores()} may be used"),
        *_onnx_runtime(),
        _driver(load),
        *_cuda_libraries(load),
        *_tensorrt(),
    ]


def _onnx_runtime() -> Iterator[Finding]:
    cpu, gpu = installed_version("onnxruntime"), installed_version("onnxruntime-gpu")
    if cpu is not None and gpu is not None:
        yield Finding(
            "packages",
            "broken",
            f"onnxruntime {cpu} and onnxruntime-gpu {gpu} are in one environment, and hide each other",
            "pip uninstall -y onnxruntime onnxruntime-gpu; then pip install memscan[gpu], or memscan[cpu], not both",
        )
    try:
        from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
    except (ImportError, OSError) as error:
        if cpu is None and gpu is None:
            yield Finding("ONNX Runtime", "missing", "it is not installed", "pip install memscan[cpu] or memscan[gpu]")
        else:
            yield Finding("ONNX Runtime", "broken", f"it does not load: {first_line(error)}", "install it again")
        return
    providers = onnxruntime.get_available_providers()
    said = f"{onnxruntime.__version__} with {', '.join(providers)}"
    if gpu is not None and "CUDAExecutionProvider" not in providers:
        yield Finding("ONNX Runtime", "broken", f"{said}: not the CUDA of onnxruntime-gpu", "see packages, above")
    else:
        yield Finding("ONNX Runtime", "ok", said)


def _driver(load: Callable[[str], Any]) -> Finding:
    try:
        driver = load("libcuda.so.1")
        version = ctypes.c_int(0)
        failed = driver.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        advice = "on a machine with an NVIDIA GPU: install its driver, and start containers with --gpus all"
        return Finding("NVIDIA driver", "missing", "there is none", advice)
    if failed:
        return Finding("NVIDIA driver", "broken", f"it answers with error {failed}", "see nvidia-smi")
    return Finding("NVIDIA driver", "ok", f"for CUDA {_dotted(version.value)} and older")


def _cuda_libraries(load: Callable[[str], Any]) -> Iterator[Finding]:
    """Those that the installed onnxruntime-gpu wants."""
    wanted = _wanted_by_onnxruntime_gpu()
    if not wanted:
        return
    cuda = next((major for name, (major, _) in wanted.items() if "cudnn" not in name and major), "")
    cudnn = next((minimum.partition(".")[0] for name, (_, minimum) in wanted.items() if "cudnn" in name), "") or "9"
    install = "pip install onnxruntime-gpu[cuda,cudnn]"
    for title, library in (
        ("CUDA runtime", f"libcudart.so.{cuda}" if cuda else "libcudart.so"),
        ("cuBLAS", f"libcublas.so.{cuda}" if cuda else "libcublas.so"),
        ("cuDNN", f"libcudnn.so.{cudnn}"),
    ):
        try:
            loaded = load(library)
        except OSError:
            packages = [name for name in wanted if title.lower().replace(" ", "-") in name and is_installed(name)]
            if packages:
                there = ", ".join(f"{name} {installed_version(name)}" for name in packages)
                yield Finding(title, "ok", f"{there}, which onnxruntime-gpu loads itself")
            else:
                yield Finding(title, "missing", f"onnxruntime-gpu wants {library}, which is not there", install)
        else:
            yield Finding(title, "ok", _version_of(title, loaded) or library)


def _wanted_by_onnxruntime_gpu() -> dict[str, tuple[str, str]]:
    """NVIDIA's packages that the wheel names: their CUDA major and lowest version, "" where it says none."""
    try:
        named = requires("onnxruntime-gpu") or []
    except PackageNotFoundError:
        return {}
    found = {}
    for line in named:
        match = _CUDA_PACKAGE.match(line)
        if match:
            major = match[2] or ("" if "cudnn" in match[1] else (match[3] or "").partition(".")[0])
            package = re.split(r"[\s~=><!;\[(]", line, maxsplit=1)[0]
            found[package] = (major, match[3] or "")
    return found


def _version_of(title: str, library: Any) -> str | None:
    try:
        if title == "cuDNN":
            library.cudnnGetVersion.restype = ctypes.c_size_t
            number = int(library.cudnnGetVersion())
            return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
        if title == "CUDA runtime":
            version = ctypes.c_int(0)
            return None if library.cudaRuntimeGetVersion(ctypes.byref(version)) else _dotted(version.value)
    except AttributeError:
        pass
    return None


def _dotted(version: int) -> str:
    """CUDA's numbers: 13020 is 13.2."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _tensorrt() -> Iterator[Finding]:
    for title, package, extra in (
        ("TensorRT", "tensorrt-cu13", "tensorrt"),
        ("TensorRT-RTX", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx"),
    ):
        version = installed_version(package)
        if version is None:
            yield Finding(title, "missing", f"{package} is not installed", f"pip install memscan[{extra}]")
        else:
            yield Finding(title, "ok", version)
    if is_installed("tensorrt-cu13") and not is_installed("cuda-bindings"):
        yield Finding("cuda-bindings", "broken", "TensorRT needs it", "pip install memscan[tensorrt]")
    if sys.platform != "linux":
        yield Finding("platform", "ok", f"{sys.platform}: CUDA and TensorRT are for Linux here")
