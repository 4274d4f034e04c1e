"""TensorRT and TensorRT-RTX: plans from the private cache, built where they are missing, run on the GPU."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import UsageError
from memscan.scanner.notes import Note
from memscan.scanner.runtimes.tensorrt.cache import PlanCache, default_folder
from memscan.scanner.runtimes.tensorrt.cuda import DeviceArray
from memscan.scanner.runtimes.tensorrt.flavour import load_flavour
from memscan.scanner.runtimes.tensorrt.loaded_plan import LoadedPlan
from memscan.scanner.runtimes.tensorrt.provide import PlanProvider
from memscan.scanner.runtimes.tensorrt.target import open_gpu, target_of
from memscan.scanner.settings import Execution


class TensorRtRuntime:
    """The graphs of one bundle as plans for the GPU at hand; its values are arrays in the GPU's memory.

    `note` is given the lines that the user should read, as that a plan is being built.

    Raises:
        UsageError: it was told to run on the CPU.
        EnvironmentFailed: the packages or the GPU are missing, this flavour does not build for that GPU, or others may
            write to the folder.
    """

    def __init__(self, bundle: Bundle, execution: Execution, note: Note) -> None:
        self._note = note
        if execution.provider == "cpu":
            raise UsageError(f"--engine {execution.engine} runs on GPUs only: leave out --provider cpu")
        self._flavour = load_flavour(execution.engine)
        self._gpu = open_gpu(self._flavour)
        self._provider = PlanProvider(
            bundle,
            self._flavour,
            PlanCache(execution.plans or default_folder()),
            target_of(self._flavour, self._gpu),
            execution.batch_size or self.usual_batch,
            note=note,
        )
        self._plans: dict[str, LoadedPlan] = {}
        self._digests: dict[str, str] = {}

    @property
    def device(self) -> str:
        """E.g. "TensorRT 10.13.3 on NVIDIA H200"."""
        return f"{self._flavour.title} on {self._gpu.name}"

    @property
    def remark(self) -> str | None:
        return None

    @property
    def loaded(self) -> dict[str, str]:
        return {graph: f"plan sha256:{digest}" for graph, digest in self._digests.items()}

    @property
    def usual_batch(self) -> int:
        """As `memscan build` has it: a larger batch would need other plans."""
        return 8

    def upload(self, array: NDArray[Any]) -> DeviceArray:
        return self._gpu.upload(array)

    def download(self, value: DeviceArray) -> NDArray[Any]:
        return self._gpu.download(value)

    def run(self, graph: str, inputs: Mapping[str, DeviceArray]) -> dict[str, DeviceArray]:
        if graph not in self._plans:
            plan = self._provider.provide(graph).plan
            self._plans[graph] = LoadedPlan(graph, plan, self._flavour, self._gpu, self._note)
            self._digests[graph] = plan.sha256
        return self._plans[graph].run(inputs)
