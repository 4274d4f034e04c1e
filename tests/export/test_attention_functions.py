"""The attention functions in ONNX Runtime against the closed form in torch, and their place in a graph."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from memscan.export.attention_functions import attention_jvp, attention_query_jvp
from memscan.export.jvp import jvp
from memscan.export.rule_table import MissingRule
from memscan.export.trace import OPSET
from memscan.kernels.jvp_attention import jvp_attention
from tests.export.rule_rows import Row
from tests.export.single_node import build

K, N, H = 3, 2, 2
TOLERANCE = 5e-6
"""Relative, in the norm: float32 sums of up to 80 terms, a few roundings deep."""


@pytest.mark.parametrize("size", [8, 40])
@pytest.mark.parametrize(("queries", "keys"), [(16, 16), (9, 77)], ids=["self", "cross"])
@pytest.mark.parametrize("function", [attention_jvp(), attention_query_jvp()], ids=lambda function: function.name)
def test_attention_function_equals_closed_form(function: ir.Function, queries: int, keys: int, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = {"q": queries, "k": keys, "v": keys}
    tensors = {name: torch.randn(N, H, length, size, generator=generator) for name, length in lengths.items()}
    tensors |= {f"{name}_dot": torch.randn(K, *tensors[name].shape, generator=generator) for name in lengths}
    feed = {value.name: tensors[value.name] for value in function.inputs if value.name}
    found = _run(function, feed, scale=0.25)
    expected = jvp_attention(**{name: tensor.double() for name, tensor in feed.items()}, scale=0.25)
    for output, reference in zip(found, expected, strict=True):
        assert reference is not None
        error = np.linalg.norm(output - reference.numpy()) / np.linalg.norm(reference.numpy())
        assert error < TOLERANCE


def test_differentiated_attention_is_one_node() -> None:
    shape = (2, 3, 5, 4)
    model = build(Row("Attention", (shape, shape, shape), torch.clone))
    for wrt, expected in ((("x0",), "AttentionQueryJvp"), (("x0", "x1", "x2"), "AttentionJvp")):
        differentiated = jvp(model, wrt, "y", num_tangents=K)
        assert [node.op_type for node in differentiated.graph if "ttention" in node.op_type] == [expected]
        assert [identifier[:2] for identifier in differentiated.functions] == [("memscan", expected)]


@pytest.mark.parametrize(("attributes", "named"), [({"is_causal": 1}, "is_causal"), ({"softcap": 2.0}, "softcap")])
def test_attention_of_another_kind_is_refused(attributes: dict[str, float], named: str) -> None:
    shape = (2, 3, 5, 4)
    model = build(Row("Attention", (shape, shape, shape), torch.clone, attributes))
    with pytest.raises(MissingRule, match=f"Attention node 'node' with {named}: only plain attention"):
        jvp(model, ("x0",), "y", num_tangents=K)


def _run(function: ir.Function, feed: dict[str, torch.Tensor], scale: float) -> list[np.ndarray]:
    float32 = ir.TensorType(ir.DataType.FLOAT)
    inputs = [ir.Value(name=name, shape=ir.Shape(tensor.shape), type=float32) for name, tensor in feed.items()]
    node = ir.node(function.name, inputs, {"scale": scale}, domain=function.domain, num_outputs=2)
    for value, name in zip(node.outputs, ("y", "y_dot"), strict=True):
        value.name, value.type = name, float32
    graph = ir.Graph(inputs, node.outputs, nodes=[node], opset_imports={"": OPSET, function.domain: 1}, name="call")
    model = ir.Model(graph, ir_version=10, functions=[function])
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {name: tensor.numpy() for name, tensor in feed.items()})
