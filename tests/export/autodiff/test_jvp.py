"""The driver: symbolic zeros, what it refuses, what it leaves alone, and the traps between linear and affine."""

import collections
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
import torch

from memscan.export.autodiff.jvp import jvp
from memscan.export.autodiff.rule_table import MissingRule
from memscan.export.graphs.trace import OPSET
from memscan.export.nodes.shapes import infer_outputs
from memscan.scanner.errors import ExportError
from tests.export.autodiff.rule_row import Row, floats, ints
from tests.export.autodiff.rule_rows import ROWS
from tests.export.autodiff.single_node import build, draw, evaluate, tangent

K = 3
_CROP = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 5.0}
AFFINE = [
    Row("Conv", ((1, 2, 4), floats(3, 2, 2), floats(3)), torch.clone, note="bias"),
    Row("ConvTranspose", ((1, 2, 4), floats(2, 3, 2), floats(3)), torch.clone, note="bias"),
    Row("Gemm", ((3, 4), floats(4, 5), floats(5)), torch.clone, note="bias"),
    Row("LayerNormalization", ((2, 5), floats(5), floats(5)), torch.clone, note="shift"),
    Row("GroupNormalization", ((2, 4, 3), floats(4), floats(4)), torch.clone, {"num_groups": 2}, note="shift"),
    Row("InstanceNormalization", ((2, 3, 4), floats(3), floats(3)), torch.clone, note="shift"),
    Row("Pad", ((2, 3), ints(0, 1, 0, 2), np.array(7.0)), torch.clone, note="fill"),
    Row(
        "Resize",
        ((1, 1, 4, 4), np.array([0, 0, -1, -1, 1, 1, 2, 2.0]), np.array([1, 1, 1.5, 1.5], np.float32)),
        torch.clone,
        _CROP,
        note="extrapolation",
    ),
    Row("Add", ((2, 3), floats(3)), torch.clone, note="constant"),
]


@pytest.mark.parametrize("row", AFFINE, ids=str)
def test_affine_operator_gives_a_linear_derivative(row: Row) -> None:
    point, directions = draw(row, K)
    model = build(row)
    zeros = {name: np.zeros_like(value) for name, value in directions.items()}
    np.testing.assert_array_equal(tangent(model, point, zeros), 0)
    assert np.abs(evaluate(model, {name: np.zeros_like(value) for name, value in point.items()}, "y")).max() > 0, (
        "the row has no constant part, so that this test could not fail"
    )


def test_missing_rule_is_named_with_its_node_and_input() -> None:
    model = _chain("Exp", "Mish", "Neg")
    with pytest.raises(MissingRule) as caught:
        jvp(model, ("x",), "y", num_tangents=K)
    assert str(caught.value) == "no derivative rule for Mish node 'n1'; the tangent arrives in its input 'v0'"
    assert isinstance(caught.value, ExportError)


def test_operator_of_another_domain_is_refused() -> None:
    model = _chain("Exp", "Exp")
    node = next(iter(model.graph))
    node.domain = "elsewhere"
    with pytest.raises(MissingRule, match="no derivative rule for elsewhere::Exp node 'n0'"):
        jvp(model, ("x",), "y", num_tangents=K)


def test_branch_without_tangent_is_left_alone() -> None:
    x, c = _input("x"), _input("c")
    exp, mish = _node("Exp", [x], "e"), _node("Mish", [c], "m")
    total = _node("Add", [exp.outputs[0], mish.outputs[0]], "z")
    graph = ir.Graph([x, c], total.outputs, nodes=[exp, mish, total], opset_imports={"": OPSET}, name="branches")
    model = ir.Model(graph, ir_version=10)
    differentiated = jvp(model, ("x",), "z", num_tangents=K)
    counts = collections.Counter(node.op_type for node in differentiated.graph)
    assert counts == {"Exp": 1, "Mish": 1, "Add": 1, "Mul": 1}  # no rule for Mish was asked for


def test_output_that_does_not_depend_on_the_input_has_zero_tangent() -> None:
    model = _chain("Exp")
    unrelated = ir.Value(name="u", shape=ir.Shape(["N", 2]), type=ir.TensorType(ir.DataType.DOUBLE))
    model.graph.inputs.append(unrelated)
    differentiated = jvp(model, ("u",), "y", num_tangents=K)
    feed = {"x": np.ones((4, 3)), "u": np.ones((4, 2)), "u_dot": np.ones((K, 4, 2))}
    found = evaluate(differentiated, feed, "y_dot")
    np.testing.assert_array_equal(found, np.zeros((K, 4, 3)))


@pytest.mark.parametrize("op", ["Identity", "Attention", "Add"])
def test_values_keep_their_names_and_tangents_are_named_after_them(op: str) -> None:
    row = next(row for row in ROWS if row.op == op)
    model = build(row)
    model.graph.outputs[:] = [next(iter(model.graph)).outputs[0]]
    differentiated = jvp(model, ("x0",), "y0", num_tangents=K)
    assert [value.name for value in differentiated.graph.outputs] == ["y0", "y0_dot"]
    names = [value.name for node in differentiated.graph for value in node.outputs]
    assert len(names) == len(set(names))
    point, directions = draw(row, K)
    feed = {**point, "x0_dot": directions["x0"]}
    np.testing.assert_allclose(evaluate(differentiated, feed, "y0"), evaluate(model, point, "y0"), rtol=1e-12)


def test_missing_tangents_are_written_out_for_concat() -> None:
    row = next(row for row in ROWS if row.op == "Concat")
    point, directions = draw(row, K)
    found = tangent(build(row, symbolic=True), point, {"x1": directions["x1"]})
    np.testing.assert_array_equal(found, np.concatenate([np.zeros((K, 2, 3)), directions["x1"]], -1))


def test_factors_of_a_tangent_are_gathered() -> None:
    """x sigmoid(x), then tanh: four factors, one product with K tangents."""
    x = _input("x")
    sigmoid = _node("Sigmoid", [x], "s")
    swish = _node("Mul", [x, sigmoid.outputs[0]], "m")
    tanh = _node("Tanh", swish.outputs, "y")
    graph = ir.Graph([x], tanh.outputs, nodes=[sigmoid, swish, tanh], opset_imports={"": OPSET}, name="swish")
    differentiated = jvp(ir.Model(graph, ir_version=10), ("x",), "y", num_tangents=K)
    with_tangents = [node for node in differentiated.graph if node.outputs[0].shape[0] == K and node.op_type == "Mul"]
    assert len(with_tangents) == 1


def test_input_model_is_not_modified_and_its_weights_are_shared() -> None:
    row = Row("MatMul", ((2, 3, 4), floats(4, 5)), torch.clone)
    model = build(row)
    before = ir.to_proto(model).SerializeToString()
    differentiated = jvp(model, ("x0",), "y", num_tangents=K)
    assert ir.to_proto(model).SerializeToString() == before
    assert differentiated.graph.initializers["x1"].const_value is model.graph.initializers["x1"].const_value


@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16], ids=str)
@pytest.mark.parametrize("op", ["LayerNormalization", "GroupNormalization", "ReduceMean", "Softmax"])
def test_half_precision_sums_run_in_float32(op: str, dtype: ir.DataType) -> None:
    row = next(row for row in ROWS if row.op == op)
    model = _in_dtype(build(row), dtype)
    differentiated = jvp(model, ("x0",), "y0", num_tangents=K)
    assert differentiated.graph.outputs[-1].dtype == dtype
    sums = [node for node in differentiated.graph if node.name.startswith("y0_dot/") and "Reduce" in node.op_type]
    assert sums
    assert {node.inputs[0].dtype for node in sums} == {ir.DataType.FLOAT}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ExportError, match="the graph has no input 'sample': it has x"):
        jvp(_chain("Exp"), of="y", num_tangents=K)
    with pytest.raises(ExportError, match="the graph has no output 'eps': it has y"):
        jvp(_chain("Exp"), ("x",), num_tangents=K)


def test_value_without_shape_is_named() -> None:
    model = _chain("Exp", "Neg")
    next(iter(model.graph)).outputs[0].shape = None
    with pytest.raises(ExportError, match="no shape or dtype for v0, made by Exp node 'n0'"):
        jvp(model, ("x",), "y", num_tangents=K)


def _chain(*operators: str) -> ir.Model:
    """x -> v0 -> v1 -> ... -> y, elementwise over [N, 3]."""
    x = _input("x")
    nodes: list[ir.Node] = []
    for index, op_type in enumerate(operators):
        nodes.append(_node(op_type, nodes[-1].outputs if nodes else [x], f"v{index}", f"n{index}"))
    nodes[-1].outputs[0].name = "y"
    graph = ir.Graph([x], nodes[-1].outputs, nodes=nodes, opset_imports={"": OPSET}, name="chain")
    return ir.Model(graph, ir_version=10)


def _input(name: str) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(["N", 3]), type=ir.TensorType(ir.DataType.DOUBLE))


def _node(op_type: str, inputs: Sequence[ir.Value], output: str, name: str | None = None) -> ir.Node:
    node = ir.node(op_type, inputs, name=name or f"node_{output}")
    node.outputs[0].name = output
    infer_outputs(node, OPSET)
    return node


def _in_dtype(model: ir.Model, dtype: ir.DataType) -> ir.Model:
    """The single-node model with every float64 value in `dtype`, without the cast at its end."""
    node, last = model.graph
    model.graph.outputs[:] = node.outputs
    model.graph.remove(last)
    for value in [*model.graph.inputs, *model.graph.initializers.values(), *node.outputs]:
        if value.dtype == ir.DataType.DOUBLE:
            value.dtype = dtype
            if value.const_value is not None:
                value.const_value = ir.Tensor(value.const_value.numpy().astype(dtype.numpy()), name=value.name)
    if "stash_type" in node.attributes:
        node.attributes["stash_type"] = ir.AttrInt64("stash_type", 1)
    return model
