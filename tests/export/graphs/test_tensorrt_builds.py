"""TensorRT-RTX's real parser and builder take the graphs of every family and precision; there is no GPU in this.

A plan cannot be loaded without a GPU, so its inputs and outputs are those of the network that the builder was given,
and their names are looked for in the plan itself. Batches of one build in half the time: only float32 plans, and none
but these, are for batches of one to two here.
"""

from pathlib import Path

import onnx_ir as ir
import pytest

from memscan.export.autodiff.jvp import jvp
from memscan.export.graphs.trace import OPSET
from memscan.export.nodes.shapes import infer_outputs
from memscan.export.passes.half_precision import Precision
from memscan.scanner.runtimes.tensorrt.builder import Request, build_plan
from memscan.scanner.runtimes.tensorrt.flavour import load_flavour
from memscan.scanner.runtimes.tensorrt.interface import Interface, Tensor
from tests.export.graphs.families import FAMILIES, TANGENTS, graphs
from tests.export.graphs.transformers import TRANSFORMERS
from tests.export.graphs.transformers import graphs as of_transformers

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


@pytest.mark.parametrize(("family", "precision"), [("sd1", "fp32"), ("sdxl", "fp16")])
@pytest.mark.parametrize("kind", ["frozen", "shallow"])
def test_every_other_kind_of_derivative_builds(kind: str, family: str, precision: Precision, tmp_path: Path) -> None:
    build(f"measure.{kind}.onnx", family, precision, tmp_path, batch_size=1)


@pytest.mark.parametrize(("family", "precision"), [("sd1", "fp32"), ("sd1", "fp16"), ("sd1", "bf16"), ("sdxl", "fp32")])
def test_the_guided_step_builds(family: str, precision: Precision, tmp_path: Path) -> None:
    build("step.onnx", family, precision, tmp_path, batch_size=1)


@pytest.mark.parametrize(("family", "precision"), [("sd1", "fp32"), ("sdxl", "fp16")])
@pytest.mark.parametrize("name", ["observe.onnx", "condition.onnx"])
def test_graphs_that_look_into_the_denoiser_build(name: str, family: str, precision: Precision, tmp_path: Path) -> None:
    build(name, family, precision, tmp_path, batch_size=1)


@pytest.mark.parametrize("name", ["measure.onnx", "step.onnx"])
@pytest.mark.parametrize("family", TRANSFORMERS)
def test_the_graphs_of_transformers_build(family: str, name: str, tmp_path: Path) -> None:
    build_and_compare(of_transformers(family)[name], tmp_path / name, batch_size=1)


@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT, ir.DataType.FLOAT16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("head_size", [5, 40, 160])
@pytest.mark.parametrize("wrt", [("q", "k", "v"), ("q",), ("v",)], ids=["self", "cross", "values"])
def test_attention_with_tangents_builds_at_any_head_size(
    wrt: tuple[str, ...], head_size: int, dtype: ir.DataType, tmp_path: Path
) -> None:
    """TensorRT refuses ONNX's own Attention at head sizes that its kernels lack; the derivative has none."""
    tokens = {"q": 6, "k": 7, "v": 7}
    q, k, v = (
        ir.Value(name=name, shape=ir.Shape(["N", 2, count, head_size]), type=ir.TensorType(dtype))
        for name, count in tokens.items()
    )
    node = ir.node("Attention", [q, k, v])
    node.outputs[0].name = "y"
    infer_outputs(node, OPSET)
    graph = ir.Graph([q, k, v], node.outputs, nodes=[node], opset_imports={"": OPSET}, name="attention")
    model = jvp(ir.Model(graph, ir_version=10), wrt, "y", num_tangents=TANGENTS)
    interface, _ = build_model(model, tmp_path / "attention.onnx", batch_size=2)
    assert list(interface.outputs) == ["y", "y_dot"]


def build(name: str, family: str, precision: Precision, folder: Path, batch_size: int) -> None:
    build_and_compare(graphs(family, precision)[name], folder / name, batch_size)


def build_and_compare(model: ir.Model, file: Path, batch_size: int) -> None:
    """Build a graph's plan, and compare what it takes and gives with the graph."""
    interface, plan = build_model(model, file, batch_size)
    assert interface.inputs == {value.name: tensor(value) for value in model.graph.inputs}
    assert interface.outputs == {value.name: tensor(value) for value in model.graph.outputs}
    assert all(str(value.name).encode() in plan for value in (*model.graph.inputs, *model.graph.outputs))


def build_model(model: ir.Model, file: Path, batch_size: int) -> tuple[Interface, bytes]:
    ir.save(model, file)
    request = Request(file.name, file, optimum=batch_size, batch_size=batch_size, compute_capabilities=("8.6",))
    interface, content = build_plan(load_flavour("tensorrt-rtx"), request, show=lambda share, phase: None)
    return interface, bytes(content)


def tensor(value: ir.Value) -> Tensor:
    assert value.shape is not None
    assert value.dtype is not None
    return Tensor(_DTYPES[value.dtype], tuple(size if isinstance(size, int) else -1 for size in value.shape))
