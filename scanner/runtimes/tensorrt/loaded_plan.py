"""One plan on the GPU, with buffers for inputs, outputs and intermediate values that fit the batch at hand.

The buffers stay where they are, so that the work can be captured as a CUDA graph and launched as a whole; inputs are
copied in and outputs copied out on the device, which costs little beside a denoiser. TensorRT-RTX captures by itself,
since it goes on compiling better kernels for the shapes that it meets.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from memscan.scanner.errors import BundleError, EnvironmentFailed, OutOfMemory
from memscan.scanner.notes import Note
from memscan.scanner.runtimes.tensorrt.cache import Plan
from memscan.scanner.runtimes.tensorrt.cuda import DeviceArray, Gpu
from memscan.scanner.runtimes.tensorrt.failure import failure
from memscan.scanner.runtimes.tensorrt.flavour import Flavour
from memscan.scanner.runtimes.tensorrt.interface import engine_interface


class LoadedPlan:
    """A plan that can be run.

    Args:
        graph: the graph's name in the bundle, for messages.
        note: is given a line if the plan will be slower than it should be.

    Raises:
        EnvironmentFailed: TensorRT cannot load the plan, or finds other inputs and outputs than recorded.
        OutOfMemory: the GPU has too little memory for its weights.
    """

    def __init__(self, graph: str, plan: Plan, flavour: Flavour, gpu: Gpu, note: Note) -> None:
        self._graph = graph
        self._interface = plan.interface
        self._largest_batch = plan.key.batch_size
        self._gpu = gpu
        self._note = note
        self._captures = not flavour.ahead_of_time
        self._logger = flavour.logger()
        self._runtime = flavour.trt.Runtime(self._logger)  # must outlive the engine
        engine = self._there(self._runtime.deserialize_cuda_engine(plan.content))
        if engine_interface(flavour.trt, engine) != plan.interface:
            raise EnvironmentFailed(f"the plan of {graph} takes and gives other arrays than recorded: delete it")
        self._context = self._there(_open_context(flavour, engine))
        self._bound: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._buffers: dict[str, DeviceArray] = {}
        self._scratch: DeviceArray | None = None
        self._launch: Callable[[], None] | None = None

    def run(self, inputs: Mapping[str, DeviceArray]) -> dict[str, DeviceArray]:
        """Outputs by name, in memory of their own.

        Raises:
            BundleError: inputs that the graph does not take.
            OutOfMemory: more images than the plan takes, or than fit into memory.
            EnvironmentFailed: the device failed.
        """
        kinds = {name: (value.shape, value.dtype) for name, value in inputs.items()}
        if kinds != self._bound:
            self._check(inputs)
            self._bind(inputs)
            self._bound = kinds
        for name, value in inputs.items():
            self._gpu.copy(self._buffers[name], value)
        if self._launch:
            self._launch()
        else:
            self._enqueue(self._gpu.stream)
            # TensorRT finishes setting up in the first run with new shapes, and only then can be recorded.
            if self._captures:
                self._capture()
        return {name: self._copied(self._buffers[name]) for name in self._interface.outputs}

    def _check(self, inputs: Mapping[str, DeviceArray]) -> None:
        expected = self._interface.inputs
        if inputs.keys() != expected.keys():
            raise BundleError(
                f"{self._graph} takes {', '.join(expected)}, not {', '.join(inputs)}: export the model again"
            )
        for name, value in inputs.items():
            tensor = expected[name]
            if not tensor.accepts(value.dtype.name, value.shape):
                raise BundleError(
                    f"{self._graph} takes {name} as {tensor.dtype} {list(tensor.shape)}, not as {value.dtype} "
                    f"{list(value.shape)}: export the model again"
                )
            batch = max((size for size, known in zip(value.shape, tensor.shape, strict=True) if known == -1), default=1)
            if batch > self._largest_batch:
                raise OutOfMemory(f"the plan of {self._graph} is for batches up to {self._largest_batch}, not {batch}")

    def _bind(self, inputs: Mapping[str, DeviceArray]) -> None:
        """Set shapes, and make buffers that fit them."""
        self._gpu.synchronize()  # the old buffers may still be in use
        self._bound, self._buffers, self._scratch, self._launch = {}, {}, None, None
        for name, value in inputs.items():
            self._succeeded(self._context.set_input_shape(name, value.shape))
            self._buffers[name] = DeviceArray(self._gpu, value.shape, value.dtype)
        for name, tensor in self._interface.outputs.items():
            shape = tuple(self._context.get_tensor_shape(name))
            self._buffers[name] = DeviceArray(self._gpu, shape, np.dtype(tensor.dtype))
        for name, buffer in self._buffers.items():
            self._succeeded(self._context.set_tensor_address(name, buffer.pointer))
        nbytes = self._context.update_device_memory_size_for_shapes()
        self._scratch = DeviceArray(self._gpu, (nbytes,), np.dtype(np.uint8))
        self._context.set_device_memory(self._scratch.pointer, nbytes)

    def _capture(self) -> None:
        try:
            self._launch = self._gpu.capture(self._enqueue)
        except OutOfMemory:
            raise
        except EnvironmentFailed as error:
            self._captures = False
            self._note(f"{self._graph} cannot be captured as a CUDA graph, and runs kernel by kernel: {error}")

    def _enqueue(self, stream: Any) -> None:
        self._succeeded(self._context.execute_async_v3(int(stream)))

    def _copied(self, buffer: DeviceArray) -> DeviceArray:
        value = DeviceArray(self._gpu, buffer.shape, buffer.dtype)
        self._gpu.copy(value, buffer)
        return value

    def _succeeded(self, succeeded: bool) -> None:
        if not succeeded:
            raise failure(self._graph, self._logger.reason())

    def _there(self, made: Any) -> Any:
        self._succeeded(made is not None)
        return made


def _open_context(flavour: Flavour, engine: Any) -> Any:
    """A context whose memory for intermediate values is ours to give: it is as large as the batch asks for."""
    user_managed = flavour.trt.ExecutionContextAllocationStrategy.USER_MANAGED
    if not flavour.ahead_of_time:
        return engine.create_execution_context(user_managed)
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(user_managed)
    config.cuda_graph_strategy = flavour.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config)
