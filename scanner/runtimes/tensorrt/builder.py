"""From a graph of a bundle to a plan: parsed from its file, strongly typed, with one optimization profile.

The precision is the graph's: its types are kept, and TF32 is off, so that float32 is float32 as on the other engines.
Weights stay in their own file, which the parser reads: no model of more than 2 GB is ever held as one message.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from memscan.scanner.errors import BundleError, EnvironmentFailed
from memscan.scanner.runtimes.tensorrt.failure import memory_failure
from memscan.scanner.runtimes.tensorrt.flavour import Flavour
from memscan.scanner.runtimes.tensorrt.interface import Interface, network_interface
from memscan.scanner.runtimes.tensorrt.progress import Show, monitor
from memscan.scanner.runtimes.tensorrt.timing import TimingCache


@dataclasses.dataclass(frozen=True)
class Request:
    """One plan to be built.

    Args:
        graph: its name in the bundle, for messages.
        file: where it is.
        optimum, batch_size: the batch that the plan is tuned for, and the largest that it takes.
        compute_capabilities: of the GPUs that it is for, such as "8.6"; used where plans are built ahead of time.
    """

    graph: str
    file: Path
    optimum: int
    batch_size: int
    compute_capabilities: Sequence[str] = ()


def build_plan(
    flavour: Flavour, request: Request, *, show: Show, timing: TimingCache | None = None
) -> tuple[Interface, memoryview]:
    """Build the plan of a graph.

    Args:
        show: is told how far it is.
        timing: what is known of this GPU's kernels; it learns from the build.

    Raises:
        BundleError: TensorRT cannot read or build the graph.
        OutOfMemory, EnvironmentFailed: too little memory, or the device failed.
    """
    trt, logger = flavour.trt, flavour.logger()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(request.file)):
        raise BundleError(f"{flavour.title} cannot read {request.graph}: {_complaint(parser) or logger.reason()}")

    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if flavour.ahead_of_time:
        _set_targets(trt, config, request.compute_capabilities)
    config.add_optimization_profile(_profile(builder, network, request))
    if timing:
        timing.attach(config)
    watch = monitor(trt, show)
    config.progress_monitor = watch
    content = builder.build_serialized_network(network, config)
    if watch.interruption:
        raise watch.interruption
    if content is None:
        raise _failure(flavour, request.graph, logger.reason())
    if timing:
        timing.merge(config)
    return network_interface(trt, network), memoryview(content)


def _set_targets(trt: ModuleType, config: Any, capabilities: Sequence[str]) -> None:
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}"), index)


def _profile(builder: Any, network: Any, request: Request) -> Any:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if -1 in tuple(tensor.shape):
            shapes = (
                tuple(batch if size == -1 else size for size in tensor.shape)
                for batch in (1, request.optimum, request.batch_size)
            )
            profile.set_shape(tensor.name, *shapes)
    return profile


def _complaint(parser: Any) -> str:
    if not parser.num_errors:
        return ""
    error = parser.get_error(0)
    node = f"{error.node_operator()} node {error.node_name()}: " if error.node_operator() else ""
    return node + " ".join(error.desc().split())


def _failure(flavour: Flavour, graph: str, reason: str) -> Exception:
    if error := memory_failure(graph, reason):
        return error
    if "cuda" in reason.lower():
        return EnvironmentFailed(f"{flavour.title} failed to build {graph}: {reason}")
    return BundleError(f"{flavour.title} cannot build {graph}: {reason}")
