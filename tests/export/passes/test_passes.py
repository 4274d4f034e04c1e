"""The graph passes: what each replaces, what it leaves, and that values stay the same."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx_ir.tensor_adapters import TorchTensor

from memscan.export.graphs.trace import OPSET
from memscan.export.nodes.shapes import infer_outputs
from memscan.export.passes.native_group_norm import NativeGroupNorm
from memscan.export.passes.split_projections import SplitProjections
from memscan.export.passes.weight_views import ViewTransposedWeights
from memscan.export.passes.written_out_attention import WriteOutAttention
from tests.export.autodiff.rule_row import Row
from tests.export.autodiff.rule_rows import ROWS
from tests.export.autodiff.single_node import build, draw, evaluate

ATTENTION_ROWS = [row for row in ROWS if row.op == "Attention"]


@pytest.mark.parametrize("row", ATTENTION_ROWS, ids=str)
def test_attention_written_out_keeps_values_and_leaves_no_attention(row: Row) -> None:
    point, _ = draw(row, 1)
    model = build(row, symbolic=True)
    written_out = model.clone()
    assert WriteOutAttention()(written_out).modified
    assert [node.op_type for node in written_out.graph] == ["Mul", "Transpose", "MatMul", "Softmax", "MatMul", "Cast"]
    assert all(
        value.shape is not None and value.dtype is not None for node in written_out.graph for value in node.outputs
    )
    np.testing.assert_allclose(evaluate(written_out, point, "y"), evaluate(model, point, "y"), rtol=1e-12)


@pytest.mark.parametrize("row", [row for row in ROWS if row.op == "GroupNormalization"], ids=str)
def test_native_group_norm_keeps_values_and_leaves_no_group_normalization(row: Row) -> None:
    point, _ = draw(row, 1)
    model = build(row, symbolic=True)
    native = model.clone()
    assert NativeGroupNorm()(native).modified
    operators = [node.op_type for node in native.graph if node.op_type != "Cast"]
    assert operators == ["Reshape", "InstanceNormalization", "Reshape", "Reshape", "Mul", "Reshape", "Add"]
    assert all(value.shape is not None and value.dtype is not None for node in native.graph for value in node.outputs)
    np.testing.assert_allclose(evaluate(native, point, "y"), evaluate(model, point, "y"), rtol=1e-9, atol=1e-12)


def test_attention_written_out_keeps_a_boolean_mask() -> None:
    """As CLIP's text encoder has: later tokens are not seen."""
    shape = (2, 3, 5, 4)
    row = Row("Attention", (shape, shape, shape), torch.clone)
    point, _ = draw(row, 1)
    model = build(row)
    mask = ir.Tensor(np.tril(np.ones((1, 1, 5, 5), bool)), name="mask")
    value = ir.Value(name="mask", shape=mask.shape, type=ir.TensorType(mask.dtype), const_value=mask)
    model.graph.register_initializer(value)
    (node,) = (node for node in model.graph if node.op_type == "Attention")
    node.resize_inputs(4)
    node.replace_input_with(3, value)

    written_out = model.clone()
    assert WriteOutAttention()(written_out).modified
    assert not any(node.op_type == "Attention" for node in written_out.graph)
    expected = evaluate(model, point, "y")
    assert not np.allclose(expected, evaluate(build(row), point, "y"))
    np.testing.assert_allclose(evaluate(written_out, point, "y"), expected, rtol=1e-12)


def test_attention_written_out_adds_a_mask_of_numbers() -> None:
    """As T5 has: a bias for every distance of positions."""
    shape = (2, 3, 5, 4)
    row = Row("Attention", (shape, shape, shape), torch.clone)
    point, _ = draw(row, 1)
    model = build(row)
    bias = ir.Tensor(np.random.default_rng(0).normal(size=(1, 3, 5, 5)), name="bias")
    value = ir.Value(name="bias", shape=bias.shape, type=ir.TensorType(bias.dtype), const_value=bias)
    model.graph.register_initializer(value)
    (node,) = (node for node in model.graph if node.op_type == "Attention")
    node.resize_inputs(4)
    node.replace_input_with(3, value)
    written_out = model.clone()
    assert WriteOutAttention()(written_out).modified
    expected = evaluate(model, point, "y")
    assert not np.allclose(expected, evaluate(build(row), point, "y"))
    np.testing.assert_allclose(evaluate(written_out, point, "y"), expected, rtol=1e-12)


def test_transposed_weight_becomes_a_view_that_is_shared() -> None:
    weight = torch.randn(3, 4)
    tensor = TorchTensor(weight, name="w")
    w = ir.Value(name="w", shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    x = ir.Value(name="x", shape=ir.Shape(["N", 4]), type=ir.TensorType(ir.DataType.FLOAT))
    transposes = [ir.node("Transpose", [w], {"perm": [1, 0]}) for _ in range(2)]
    products = [ir.node("MatMul", [x, transpose.outputs[0]]) for transpose in transposes]
    untouched = ir.node("Transpose", [x], {"perm": [1, 0]})
    nodes = [*transposes, *products, untouched]
    outputs = [node.outputs[0] for node in (*products, untouched)]
    model = ir.Model(ir.Graph([x], outputs, nodes=nodes, initializers=[w], opset_imports={"": OPSET}), ir_version=10)

    assert ViewTransposedWeights()(model).modified
    assert [node.op_type for node in model.graph] == ["MatMul", "MatMul", "Transpose"]
    view = model.graph.initializers["w.T"].const_value
    assert view.raw.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
    np.testing.assert_array_equal(view.numpy(), weight.T.numpy())
    assert all(product.inputs[1] is model.graph.initializers["w.T"] for product in products)
    assert not ViewTransposedWeights()(model).modified


@pytest.mark.parametrize(("axis", "lengths"), [(-1, (3, 3)), (2, (4, 2))], ids=["halves", "uneven"])
def test_split_projection_becomes_projections_over_views(axis: int, lengths: tuple[int, int]) -> None:
    weight, shift = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    model = _projection(weight, shift, axis, lengths)
    projected = model.clone()
    assert SplitProjections()(projected).modified
    assert [node.op_type for node in projected.graph] == ["MatMul", "Add", "MatMul", "Add", "Mul", "Identity"]
    assert all(
        value.shape is not None and value.dtype is not None for node in projected.graph for value in node.outputs
    )
    views = {name: value.const_value.raw for name, value in projected.graph.initializers.items() if name != "lengths"}
    assert set(views) == {"w.part0", "w.part1", "b.part0", "b.part1"}  # and no longer the wholes: they would be stored
    assert {view.untyped_storage().data_ptr() for view in views.values()} == {
        parameter.untyped_storage().data_ptr() for parameter in (weight, shift)
    }
    point = {"x": np.random.default_rng(0).normal(size=(2, 4, 5))}
    for output in ("a", "y"):
        np.testing.assert_allclose(evaluate(projected, point, output), evaluate(model, point, output), rtol=1e-12)


def test_split_of_another_axis_is_left() -> None:
    weight, shift = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    assert not SplitProjections()(_projection(weight, shift, 1, (2, 2))).modified


@pytest.mark.parametrize("reader", ["output", "node"])
@pytest.mark.parametrize("shared", ["product", "total"])
def test_projection_with_a_second_reader_is_left(shared: str, reader: str) -> None:
    """Whoever reads the product or the sum as well would have to be given it: nothing would be saved."""
    weight, shift = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    model = _projection(weight, shift, -1, (3, 3))
    (value,) = next(node for node in model.graph if node.name == shared).outputs
    if reader == "node":
        second = ir.node("Neg", [value], name="second")
        second.outputs[0].name = "negative"
        infer_outputs(second, OPSET)
        model.graph.append(second)
        (value,) = second.outputs
    model.graph.outputs.append(value)
    before = [node.name for node in model.graph]
    assert not SplitProjections()(model).modified
    assert [node.name for node in model.graph] == before


@pytest.mark.parametrize("name", ["w", "b"])
def test_projection_by_what_is_no_parameter_is_left(name: str) -> None:
    """Splitting any other constant would be a copy, and what is computed cannot be split before it is there."""
    weight, shift = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    model = _projection(weight, shift, -1, (3, 3))
    constant = model.graph.initializers[name]
    constant.const_value = ir.tensor(constant.const_value.numpy(), name=name)
    assert not SplitProjections()(model).modified


def test_two_projections_by_one_weight_may_be_split_differently() -> None:
    """The views are named after the weight, which is not all that they are made of."""
    weight, shift = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    model, other = (_projection(weight, shift, -1, lengths) for lengths in ((3, 3), (4, 2)))
    for value in ("w", "b", "x"):
        source = {**model.graph.initializers, **{entry.name: entry for entry in model.graph.inputs}}[value]
        target = {**other.graph.initializers, **{entry.name: entry for entry in other.graph.inputs}}[value]
        ir.convenience.replace_all_uses_with(target, source)
    nodes, outputs, lengths = list(other.graph), list(other.graph.outputs), other.graph.initializers["lengths"]
    other.graph.outputs.clear()
    other.graph.remove(nodes)
    del other.graph.initializers["lengths"]
    for value in (lengths, *(value for node in nodes for value in node.outputs)):
        value.name = f"other_{value.name}"
    model.graph.register_initializer(lengths)
    model.graph.extend(nodes)
    model.graph.outputs.extend(outputs)

    split = model.clone()
    assert SplitProjections()(split).modified
    point = {"x": np.random.default_rng(0).normal(size=(2, 4, 5))}
    for output in ("a", "y", "other_a", "other_y"):
        np.testing.assert_allclose(evaluate(split, point, output), evaluate(model, point, output), rtol=1e-12)


def test_one_weight_in_two_orders_becomes_two_views() -> None:
    weight = torch.randn(2, 3, 4)
    tensor = TorchTensor(weight, name="w")
    w = ir.Value(name="w", shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    transposes = [ir.node("Transpose", [w], {"perm": perm}) for perm in ([0, 2, 1], [2, 1, 0], [0, 2, 1])]
    copies = [ir.node("Identity", transpose.outputs) for transpose in transposes]
    outputs = [copy.outputs[0] for copy in copies]
    graph = ir.Graph([], outputs, nodes=[*transposes, *copies], initializers=[w], opset_imports={"": OPSET})
    assert ViewTransposedWeights()(ir.Model(graph, ir_version=10)).modified
    views = [copy.inputs[0] for copy in copies]
    assert [view.shape for view in views] == [(2, 4, 3), (4, 3, 2), (2, 4, 3)]
    assert views[0] is views[2]


def _projection(weight: torch.Tensor, shift: torch.Tensor, axis: int, lengths: tuple[int, int]) -> ir.Model:
    """a, b = split(x w^T + shift); y = a * a; outputs a, y and the identity of b, for x `[N, 4, 5]`."""
    x = ir.Value(name="x", shape=ir.Shape(["N", 4, 5]), type=ir.TensorType(ir.DataType.DOUBLE))
    tensors = [TorchTensor(weight.T, name="w"), TorchTensor(shift, name="b")]
    tensors.append(ir.tensor(np.array(lengths), name="lengths"))
    w, b, sizes = (
        ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        for tensor in tensors
    )
    product = ir.node("MatMul", [x, w], name="product")
    total = ir.node("Add", [product.outputs[0], b], name="total")
    split = ir.node("Split", [total.outputs[0], sizes], {"axis": axis}, num_outputs=2, name="split")
    square = ir.node("Mul", [split.outputs[0], split.outputs[0]], name="square")
    rest = ir.node("Identity", [split.outputs[1]], name="rest")
    nodes = [product, total, split, square, rest]
    for node, names in zip(nodes, (["p"], ["t"], ["a", "c"], ["y"], ["b_out"]), strict=True):
        for value, name in zip(node.outputs, names, strict=True):
            value.name = name
        infer_outputs(node, OPSET)
    outputs = [split.outputs[0], square.outputs[0], rest.outputs[0]]
    graph = ir.Graph(
        [x], outputs, nodes=nodes, initializers=[w, b, sizes], opset_imports={"": OPSET}, name="projection"
    )
    return ir.Model(graph, ir_version=10)
