"""TensorRT-RTX's real parser and builder take the graphs of every family and precision; there is no GPU in this.

A plan cannot be loaded without a GPU, so its inputs and outputs are those of the network that the builder was given,
and their names are looked for in the plan itself. Batches of one build in half the time: only float32 plans, and none
but these, are for batches of one to two here.
"""

from pathlib import Path

import onnx_ir as ir
import pytest

from memscan.export.passes.half_precision import Precision
from memscan.scanner.plans.builder import Request, build_plan
from memscan.scanner.plans.flavour import load_flavour
from memscan.scanner.plans.interface import Tensor
from tests.export.families import FAMILIES, graphs

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX's wheels are not installed")

_DTYPES = {ir.DataType.FLOAT: "float32", ir.DataType.INT64: "int64"}

HALF = [(family, precision) for family in FAMILIES for precision in ("fp16", "bf16")]
IN_HALF_DAILY = ("sd1", "sdxl")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_derivative_of_every_family_builds_for_batches(family: str, tmp_path: Path) -> None:
    build("measure.onnx", family, "fp32", tmp_path, batch_size=2)


@pytest.mark.parametrize(
    ("family", "precision"),
    [
        pytest.param(family, precision, marks=() if family in IN_HALF_DAILY else pytest.mark.slow)
        for family, precision in HALF
    ],
)
def test_the_derivative_builds_in_half_precision(family: str, precision: Precision, tmp_path: Path) -> None:
    build("measure.onnx", family, precision, tmp_path, batch_size=1)


@pytest.mark.parametrize(("family", "precision"), [("sd1", "fp32"), ("sd1", "fp16"), ("sd1", "bf16"), ("sdxl", "fp32")])
def test_the_guided_step_builds(family: str, precision: Precision, tmp_path: Path) -> None:
    build("step.onnx", family, precision, tmp_path, batch_size=1)


def build(name: str, family: str, precision: Precision, folder: Path, batch_size: int) -> None:
    """Build a graph's plan, and compare what it takes and gives with the graph."""
    model = graphs(family, precision)[name]
    ir.save(model, folder / name)
    request = Request(name, folder / name, optimum=batch_size, batch_size=batch_size, compute_capabilities=("8.6",))
    interface, content = build_plan(load_flavour("tensorrt-rtx"), request, show=lambda share, phase: None)
    assert interface.inputs == {value.name: tensor(value) for value in model.graph.inputs}
    assert interface.outputs == {value.name: tensor(value) for value in model.graph.outputs}
    plan = bytes(content)
    assert all(str(value.name).encode() in plan for value in (*model.graph.inputs, *model.graph.outputs))


def tensor(value: ir.Value) -> Tensor:
    assert value.shape is not None
    assert value.dtype is not None
    return Tensor(_DTYPES[value.dtype], tuple(size if isinstance(size, int) else -1 for size in value.shape))
