"""What passes require and ensure: a graph that does not fit is named before anything is changed, a failure after it."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx_ir.tensor_adapters import TorchTensor

from memscan.export.autodiff.jvp import jvp
from memscan.export.graphs.trace import OPSET
from memscan.export.nodes.conditions import Unfit
from memscan.export.passes import sliced_attention
from memscan.export.passes.half_precision import HalfPrecision
from memscan.export.passes.native_group_norm import NativeGroupNorm
from memscan.export.passes.sliced_attention import SliceAttention
from memscan.export.passes.split_projections import SplitProjections
from memscan.export.passes.weight_views import ViewTransposedWeights
from memscan.export.passes.written_out_attention import WriteOutAttention
from memscan.scanner.errors import ExportError
from tests.export.autodiff.rule_row import Row, floats
from tests.export.autodiff.single_node import build
from tests.export.graphs.families import traced

SHAPE = (2, 3, 5, 4)


def attention(*, symbolic: bool = False, **attributes: float) -> ir.Model:
    return build(Row("Attention", (SHAPE, SHAPE, SHAPE), torch.clone, attributes), symbolic=symbolic)


def group_norm(dtype: ir.DataType = ir.DataType.DOUBLE, shape: tuple[int | str, ...] = ("N", 4, 3)) -> ir.Model:
    row = Row("GroupNormalization", ((2, 4, 3), floats(4), floats(4)), torch.clone, {"num_groups": 2})
    model = build(row)
    (x,) = model.graph.inputs
    x.dtype, x.shape = dtype, ir.Shape(shape)
    return model


def shapeless() -> ir.Model:
    model = build(Row("Exp", ((2, 3),), torch.clone))
    model.graph[0].outputs[0].shape = None
    return model


def looping() -> ir.Model:
    model = build(Row("Exp", ((2, 3),), torch.clone))
    body = ir.Graph([], [], nodes=[], name="body")
    model.graph[0].attributes["body"] = ir.AttrGraph("body", body)
    return model


def large_attention(*, symbolic: bool = False, **attributes: float) -> ir.Model:
    model = attention(**attributes)
    if symbolic:
        model.graph.inputs[0].shape = ir.Shape(["N", 3, "M", 4])
    return model


UNFIT: list[tuple[str, ir.passes.PassBase, Callable[[], ir.Model], str]] = [
    ("causal", WriteOutAttention(), lambda: attention(is_causal=1), "Attention node 'node' cannot be written out with"),
    (
        "causal-slice",
        SliceAttention(),
        lambda: attention(is_causal=1),
        "Attention node 'node' cannot be sliced with",
    ),
    (
        "tokens-unknown",
        SliceAttention(),
        lambda: large_attention(symbolic=True),
        r"Attention node 'node' reads x0 \[N,3,M,4\]: expected \[N, H, tokens, D\], static but for N",
    ),
    (
        "norm-in-half",
        NativeGroupNorm(),
        lambda: group_norm(ir.DataType.FLOAT16),
        r"GroupNormalization node 'node' normalizes x0 FLOAT16\[N,4,3\]: expected float32 or float64 \[N, C, ...\]",
    ),
    (
        "norm-of-any-length",
        NativeGroupNorm(),
        lambda: group_norm(shape=("N", 4, "L")),
        r"GroupNormalization node 'node' normalizes x0 DOUBLE\[N,4,L\]: expected float32 or float64",
    ),
    ("no-shape", SplitProjections(), shapeless, "no shape or dtype for y0, made by Exp node 'node'"),
    ("no-shape-half", HalfPrecision(ir.DataType.FLOAT16), shapeless, "no shape or dtype for y0, made by Exp node"),
    ("subgraph", HalfPrecision(ir.DataType.FLOAT16), looping, "Exp node 'node' holds a graph of its own"),
]


@pytest.mark.parametrize(("pass_", "make", "words"), [case[1:] for case in UNFIT], ids=[case[0] for case in UNFIT])
def test_unfit_graph_is_named_in_one_line_and_left_as_it_was(
    pass_: ir.passes.PassBase, make: Callable[[], ir.Model], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sliced_attention, "MIN_SCORES", 1)
    model = make()
    before = [(node.op_type, tuple(value.dtype for value in node.outputs)) for node in model.graph]
    with pytest.raises(Unfit, match=words) as caught:
        pass_(model)
    assert isinstance(caught.value, ExportError)
    assert isinstance(caught.value, ir.passes.PreconditionError)
    assert "\n" not in str(caught.value)
    assert [(node.op_type, tuple(value.dtype for value in node.outputs)) for node in model.graph] == before


def test_small_attention_may_be_of_any_kind() -> None:
    assert not SliceAttention()(attention(is_causal=1)).modified


def idle(self: object, model: ir.Model) -> ir.passes.PassResult:
    """Stands for the work of a pass that leaves everything undone."""
    return ir.passes.PassResult(model, modified=False)


def parameter(name: str, *shape: int) -> ir.Value:
    tensor = TorchTensor(torch.randn(*shape), name=name)
    return ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)


def transposed_weight() -> ir.Model:
    w = parameter("w", 3, 4)
    node = ir.node("Transpose", [w], name="node")
    return ir.Model(
        ir.Graph([], node.outputs, nodes=[node], initializers=[w], opset_imports={"": OPSET}), ir_version=10
    )


def split_projection() -> ir.Model:
    """x W + b in two halves, as torch's exporter leaves it."""
    x = ir.Value(name="x", shape=ir.Shape(["N", 3]), type=ir.TensorType(ir.DataType.FLOAT))
    tensors = [
        ir.tensor_adapters.TorchTensor(torch.randn(*shape), name=name) for name, shape in (("w", (3, 4)), ("b", (4,)))
    ]
    w, b = (ir.Value(name=t.name, shape=t.shape, type=ir.TensorType(t.dtype), const_value=t) for t in tensors)
    product = ir.node("MatMul", [x, w])
    total = ir.node("Add", [product.outputs[0], b])
    split = ir.node("Split", total.outputs, {"axis": 1, "num_outputs": 2}, num_outputs=2, name="node")
    for node, shape in ((product, ["N", 4]), (total, ["N", 4]), (split, ["N", 2])):
        for value in node.outputs:
            value.shape, value.type = ir.Shape(shape), x.type
    nodes = [product, total, split]
    return ir.Model(
        ir.Graph([x], split.outputs, nodes=nodes, initializers=[w, b], opset_imports={"": OPSET}), ir_version=10
    )


UNDONE: list[tuple[str, ir.passes.PassBase, Callable[[], ir.Model], str]] = [
    ("written-out", WriteOutAttention(), attention, "^Attention node 'node' is left$"),
    ("sliced", SliceAttention(), attention, "^Attention node 'node' forms 75 scores at once$"),
    (
        "sliced-tangents",
        SliceAttention(),
        lambda: jvp(attention(), ("x0",), "y", num_tangents=2),
        "^memscan::AttentionQueryJvp node .* forms 150 scores at once$",
    ),
    (
        "values",
        SliceAttention(),
        lambda: jvp(attention(), ("x2",), "y", num_tangents=2),
        "^memscan::AttentionValueJvp node .* forms 75 scores at once$",
    ),
    ("norm", NativeGroupNorm(), group_norm, "^GroupNormalization node 'node' is left$"),
    ("views", ViewTransposedWeights(), transposed_weight, "^Transpose node 'node' reads the parameter w$"),
    ("projection", SplitProjections(), split_projection, "^Split node 'node' still splits a projection$"),
    ("products", HalfPrecision(ir.DataType.FLOAT16), lambda: traced("sd1").clone(), "^[A-Z].* is left over .*FLOAT"),
]


@pytest.mark.parametrize(("pass_", "make", "words"), [case[1:] for case in UNDONE], ids=[case[0] for case in UNDONE])
def test_pass_that_leaves_its_work_undone_is_caught(
    pass_: ir.passes.PassBase, make: Callable[[], ir.Model], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sliced_attention, "MIN_SCORES", 1)
    monkeypatch.setattr(type(pass_), "call", idle)
    with pytest.raises(ir.passes.PostconditionError, match=words):
        pass_(make())


@pytest.mark.parametrize(
    ("break_", "words"),
    [
        (lambda graph: setattr(graph.inputs[0], "dtype", ir.DataType.FLOAT16), "x0 is FLOAT16, at the border"),
        (lambda graph: setattr(graph[0].outputs[0], "type", None), "Softmax node 'node' is left over .*None"),
        (lambda graph: setattr(graph[0].outputs[0], "dtype", ir.DataType.FLOAT16), "Softmax node 'node' is left over"),
    ],
    ids=["border", "no-dtype", "sum-in-half"],
)
def test_half_precision_in_the_wrong_place_is_caught(
    break_: Callable[[ir.Graph], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(self: object, model: ir.Model) -> ir.passes.PassResult:
        break_(model.graph)
        return ir.passes.PassResult(model, modified=True)

    monkeypatch.setattr(HalfPrecision, "call", breaking)
    model = build(Row("Softmax", ((2, 3),), torch.clone))
    with pytest.raises(ir.passes.PostconditionError, match=words):
        HalfPrecision(ir.DataType.FLOAT16)(model)


def test_constants_of_equal_tensor_names_are_converted_apart() -> None:
    """A converted weight is named after its value: the optimizer leaves tensors without names of their own."""
    x = ir.Value(name="x", shape=ir.Shape([2, 3]), type=ir.TensorType(ir.DataType.FLOAT))
    weights = []
    for index in range(2):
        tensor = ir.Tensor(np.full((3, 3), index, np.float32), name="")
        weights.append(
            ir.Value(name=f"w{index}", shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        )
    products = [ir.node("MatMul", [x, weight]) for weight in weights]
    for index, node in enumerate(products):
        (y,) = node.outputs
        y.name, y.shape, y.type = f"y{index}", ir.Shape([2, 3]), x.type
    outputs = [node.outputs[0] for node in products]
    graph = ir.Graph([x], outputs, nodes=products, initializers=weights, opset_imports={"": OPSET})
    HalfPrecision(ir.DataType.FLOAT16)(ir.Model(graph, ir_version=10))
    converted = [node.inputs[1] for node in products]
    assert [value.name for value in converted] == ["w0.float16", "w1.float16"]
    assert [float(value.const_value.numpy().max()) for value in converted] == [0, 1]
