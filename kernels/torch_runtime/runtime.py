"""The torch engine: the graphs of a bundle on CUDA, with our own attention kernel, or on the CPU.

On CUDA a graph runs eagerly the first time it meets a batch size, is recorded as a CUDA graph the second time, and is
replayed from then on. float32 bundles are computed in IEEE float32: tensor cores' shorter formats are for bundles that
say so.
"""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memscan.kernels.torch_runtime.constants import Constants
from memscan.kernels.torch_runtime.fused_attention import fuse_attention
from memscan.kernels.torch_runtime.graph_file import read_graph
from memscan.kernels.torch_runtime.plan import Plan
from memscan.kernels.torch_runtime.recorded import Recorded
from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import EnvironmentFailed, OutOfMemory
from memscan.scanner.runtimes.cores import usable_cores
from memscan.scanner.runtimes.failures import first_line, is_out_of_memory
from memscan.scanner.settings import Execution

Form = tuple[tuple[str, torch.dtype, tuple[int, ...]], ...]
"""Names, dtypes and shapes of a graph's inputs: what a recording is good for."""


class TorchRuntime:
    """The graphs of one bundle as torch calls; its values are tensors.

    Sets torch's number of threads and precision for the whole process.

    Raises:
        EnvironmentFailed: CUDA was asked for and is not there.
    """

    def __init__(self, bundle: Bundle, execution: Execution) -> None:
        self._bundle = bundle
        self._device = _choose_device(execution)
        self._on_cuda = self._device.type == "cuda"
        self._may_be_cuda = execution.provider != "cpu"
        self._constants = Constants()
        self._plans: dict[str, Plan] = {}
        self._met: set[tuple[str, Form]] = set()
        self._recorded: dict[tuple[str, Form], Recorded] = {}
        torch.set_num_threads(execution.threads or usable_cores())
        _demand_full_precision()

    @property
    def device(self) -> str:
        """torch's version, and the device's name."""
        name = torch.cuda.get_device_name(self._device) if self._on_cuda else "cpu"
        return f"torch {torch.__version__.partition('+')[0]} on {name}"

    @property
    def remark(self) -> str | None:
        if self._on_cuda or not self._may_be_cuda or torch.version.cuda is None:
            return None
        return f"torch {torch.__version__} has CUDA, but finds no device: check the driver, or say --provider cpu"

    @property
    def loaded(self) -> dict[str, str]:
        return dict.fromkeys(self._plans, self.device)

    @property
    def usual_batch(self) -> int:
        return 64 if self._on_cuda else 8

    def upload(self, array: NDArray[Any]) -> Tensor:
        # torch takes no negative strides, and warns of arrays that cannot be written to.
        with self._failing_clearly("upload"):
            return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)

    def download(self, value: Tensor) -> NDArray[Any]:
        with self._failing_clearly("download"):
            array: NDArray[Any] = value.cpu().numpy()
            return array

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with self._failing_clearly(graph):
            return self._run(graph, inputs)

    @contextmanager
    def _failing_clearly(self, work: str) -> Iterator[None]:
        """Turns torch's errors into one line each; kernels run behind the calls, so that any call may bring one."""
        try:
            yield
        except ModuleNotFoundError as error:
            raise EnvironmentFailed(f'the torch engine needs {error.name}: pip install "memscan[torch]"') from error
        except (RuntimeError, MemoryError) as error:
            memory_failure = _memory_failure(error)
            if memory_failure is None:
                raise EnvironmentFailed(f"{work} failed: {first_line(error)}") from error
            traceback.clear_frames(error.__traceback__)  # which hold the values that filled the memory
            self._release()
            raise OutOfMemory(f"out of memory in {work} ({first_line(memory_failure)})") from error

    def _run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if graph not in self._plans:
            file = read_graph(self._bundle.file(graph))
            self._plans[graph] = Plan(fuse_attention(file), self._device, self._constants)
        plan = self._plans[graph]
        if not self._on_cuda:
            return plan.run(inputs)
        key = graph, tuple((name, tensor.dtype, tuple(tensor.shape)) for name, tensor in inputs.items())
        if key not in self._met:
            self._met.add(key)
            return plan.run(inputs)
        if key not in self._recorded:
            self._recorded[key] = Recorded(plan, inputs, self._pool())
        return self._recorded[key].replay(inputs)

    def _pool(self) -> Any:
        """The memory that recordings share: they never run at once, and each writes all that it reads."""
        return next((recorded.pool for recorded in self._recorded.values()), None)

    def _release(self) -> None:
        """Give back what larger batches have left behind."""
        self._met.clear()
        self._recorded.clear()
        if self._on_cuda:
            torch.cuda.empty_cache()


def _choose_device(execution: Execution) -> torch.device:
    available = torch.cuda.is_available()
    if execution.provider == "cuda" and not available:
        raise EnvironmentFailed(
            f"torch {torch.__version__} finds no CUDA device: install a torch with CUDA and its driver, "
            "or use --provider cpu"
        )
    return torch.device("cuda" if available and execution.provider != "cpu" else "cpu")


def _demand_full_precision() -> None:
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def _memory_failure(error: BaseException | None) -> BaseException | None:
    """The error that says that memory ran out: this one, or the one that it arose from, as when a recording ends."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError) or is_out_of_memory(error):
            return error
        error = error.__context__
    return None
