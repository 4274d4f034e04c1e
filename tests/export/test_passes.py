"""The graph passes: what each replaces, what it leaves, and that values stay the same."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx_ir.tensor_adapters import TorchTensor

from memscan.export.passes.native_group_norm import NativeGroupNorm
from memscan.export.passes.plain_attention import PlainAttention
from memscan.export.passes.weight_views import ViewTransposedWeights
from memscan.export.rule_table import MissingRule
from memscan.export.trace import OPSET
from tests.export.rule_rows import ROWS, Row
from tests.export.single_node import build, draw, evaluate

ATTENTION_ROWS = [row for row in ROWS if row.op == "Attention"]


@pytest.mark.parametrize("row", ATTENTION_ROWS, ids=str)
def test_plain_attention_keeps_values_and_leaves_no_attention(row: Row) -> None:
    point, _ = draw(row, 1)
    model = build(row, symbolic=True)
    plain = model.clone()
    assert PlainAttention()(plain).modified
    assert [node.op_type for node in plain.graph] == ["Mul", "Transpose", "MatMul", "Softmax", "MatMul", "Cast"]
    assert all(value.shape is not None and value.dtype is not None for node in plain.graph for value in node.outputs)
    np.testing.assert_allclose(evaluate(plain, point, "y"), evaluate(model, point, "y"), rtol=1e-12)


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


def test_plain_attention_keeps_a_boolean_mask() -> None:
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

    plain = model.clone()
    assert PlainAttention()(plain).modified
    assert not any(node.op_type == "Attention" for node in plain.graph)
    expected = evaluate(model, point, "y")
    assert not np.allclose(expected, evaluate(build(row), point, "y"))
    np.testing.assert_allclose(evaluate(plain, point, "y"), expected, rtol=1e-12)


def test_plain_attention_refuses_a_causal_mask() -> None:
    shape = (2, 3, 5, 4)
    model = build(Row("Attention", (shape, shape, shape), torch.clone, {"is_causal": 1}))
    with pytest.raises(MissingRule, match="is_causal"):
        PlainAttention()(model)


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
