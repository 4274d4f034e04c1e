"""Plans on a real GPU against ONNX Runtime on the CPU, graph by graph."""

from pathlib import Path

import numpy as np
import pytest

from memscan.scanner.bundle import open_bundle
from memscan.scanner.errors import EnvironmentFailed
from memscan.scanner.runtimes import open_runtime
from memscan.scanner.runtimes.runtime import Runtime
from memscan.scanner.runtimes.tensorrt.cache import PlanCache
from memscan.scanner.runtimes.tensorrt.flavour import load_flavour
from memscan.scanner.runtimes.tensorrt.interface import Tensor
from memscan.scanner.runtimes.tensorrt.key import plan_graphs
from memscan.scanner.runtimes.tensorrt.provide import PlanProvider
from memscan.scanner.runtimes.tensorrt.target import open_gpu, target_of
from memscan.scanner.settings import Execution

pytestmark = pytest.mark.gpu

Arrays = dict[str, np.ndarray]

TOLERANCE = 1e-4
"""Relative to the largest value: float32 in another order; the 10 bits of TF32 would show as 1e-3."""


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt-rtx"])
def test_every_graph_gives_what_onnx_runtime_gives(tiny_bundle: Path, engine: str, tmp_path: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    try:
        runtime = open_runtime(bundle, Execution(batch_size=2, engine=engine, plans=tmp_path / "plans"))
    except EnvironmentFailed as error:
        pytest.skip(str(error))
    reference = open_runtime(bundle, Execution(provider="cpu"))
    flavour = load_flavour(engine)
    target = target_of(flavour, open_gpu(flavour))
    provider = PlanProvider(bundle, flavour, PlanCache(tmp_path / "plans"), target, 2, note=print)
    for graph in plan_graphs(bundle, "exact"):
        inputs = draw(provider.provide(graph).plan.interface.inputs)
        for _ in range(3):  # run, captured, launched
            outputs = run(runtime, graph, inputs)
        for name, expected in run(reference, graph, inputs).items():
            error = np.abs(outputs[name] - expected).max() / np.abs(expected).max()
            assert error < TOLERANCE, f"{graph}: {name} differs by {error:.1e}"


def run(runtime: Runtime, graph: str, inputs: Arrays) -> Arrays:
    outputs = runtime.run(graph, {name: runtime.upload(array) for name, array in inputs.items()})
    return {name: runtime.download(value) for name, value in outputs.items()}


def draw(tensors: dict[str, Tensor]) -> Arrays:
    """Random inputs for a batch of 2: signs for tangents, small integers for tokens, noise levels in (0, 1)."""
    generator = np.random.default_rng(0)
    shapes = {name: tuple(2 if size == -1 else size for size in tensor.shape) for name, tensor in tensors.items()}
    arrays = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        if tensor.dtype == "int64":
            arrays[name] = generator.integers(1, 100, shapes[name])
    for name in {"timestep", "alpha", "sigma"} & arrays.keys():
        arrays[name] = generator.uniform(0.2, 0.9, shapes[name]).astype(np.float32)
    if "tangents" in arrays:
        arrays["tangents"] = np.sign(arrays["tangents"])
    return arrays
