"""What plans are built for: the GPU at hand or, ahead of time, any GPU of some compute capabilities."""

import dataclasses
from collections.abc import Sequence

from memscan.scanner.errors import EnvironmentFailed, OutOfMemory, UsageError
from memscan.scanner.runtimes.tensorrt.cuda import Gpu
from memscan.scanner.runtimes.tensorrt.flavour import Flavour


@dataclasses.dataclass(frozen=True)
class Target:
    """`gpu` is a name, or None for plans that are built ahead of time; `compute_capabilities` are such as "8.6"."""

    gpu: str | None
    compute_capabilities: tuple[str, ...]

    def __str__(self) -> str:
        return self.gpu or f"compute capability {', '.join(self.compute_capabilities)}"


def ahead_of_time(flavour: Flavour, capabilities: Sequence[str]) -> Target:
    """Plans for GPUs of these compute capabilities; by default all that the flavour builds for, but Turing's 7.5.

    Turing has no float32 matrix products in TensorRT-RTX, and costs the other GPUs speed.

    Raises:
        UsageError: the flavour does not build for one of them.
    """
    known = flavour.buildable_capabilities
    for capability in capabilities:
        if capability not in known:
            raise UsageError(
                f"{flavour.title} does not build for compute capability {capability}: it does for {', '.join(known)}"
            )
    wanted = capabilities or [capability for capability in known if capability != "7.5"]
    return Target(None, tuple(capability for capability in known if capability in wanted))


def open_gpu(flavour: Flavour) -> Gpu:
    """The GPU at hand, for a flavour's plans.

    Raises:
        EnvironmentFailed: there is none, or no driver; the message says what is needed.
    """
    try:
        return Gpu()
    except OutOfMemory:
        raise
    except EnvironmentFailed as error:
        raise EnvironmentFailed(
            f"--engine {flavour.engine} needs an NVIDIA GPU with a driver for CUDA 13 (r580 or newer): {error}; "
            "--engine onnxruntime runs without one"
        ) from error


def target_of(flavour: Flavour, gpu: Gpu) -> Target:
    """What plans for a GPU are built for.

    Raises:
        EnvironmentFailed: the flavour does not build for it.
    """
    if not flavour.ahead_of_time:
        return Target(gpu.name, (gpu.compute_capability,))
    if gpu.compute_capability not in flavour.buildable_capabilities:
        raise EnvironmentFailed(
            f"{flavour.title} does not build for compute capability {gpu.compute_capability} ({gpu.name}): "
            "use --engine tensorrt"
        )
    return Target(None, (gpu.compute_capability,))
