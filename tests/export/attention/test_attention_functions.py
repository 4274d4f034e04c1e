"""Every body of the attention functions against the closed form and torch's forward mode; their place in a graph."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor

from memscan.export.attention import slices as attention_slices
from memscan.export.attention.functions import INPUTS, attention_function
from memscan.export.attention.slices import AttentionShape, block_length, sliced_attention
from memscan.export.autodiff.jvp import jvp
from memscan.export.autodiff.rule_table import MissingRule
from memscan.export.graphs.trace import OPSET
from memscan.kernels.jvp_attention import jvp_attention
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from tests.export.autodiff.rule_row import Row
from tests.export.autodiff.single_node import build

K, H, SCALE = 3, 2, 0.25
TOLERANCE = 5e-6
"""Relative, in the norm: float32 sums of up to 80 terms, a few roundings deep."""

SELF, CROSS, ODD = (16, 16), (9, 77), (15, 21)
NAMES = pytest.mark.parametrize("name", list(INPUTS))
LENGTHS = pytest.mark.parametrize(("queries", "keys"), [SELF, CROSS, ODD], ids=["self", "cross", "odd"])


@NAMES
@LENGTHS
@pytest.mark.parametrize("size", [8, 40])
def test_whole_body_equals_closed_form(name: str, queries: int, keys: int, size: int) -> None:
    feed = _draw(name, 2, queries, keys, size)
    _assert_equal(_run(attention_function(name), feed), feed)


@NAMES
@LENGTHS
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [8, 16], ids=["D8", "D16"])  # row sums by a column of ones, and by a sum
@pytest.mark.parametrize("limits", [(512, 1024, 2**19), (8, 8, 0), (8, 8, 2**19), (8, 100, 0)], ids=str)
def test_sliced_body_equals_closed_form(
    name: str,
    queries: int,
    keys: int,
    batch: int,
    size: int,
    limits: tuple[int, int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`limits` decide whether there are blocks of rows, blocks of keys, and a loop over the tangents."""
    for limit, value in zip(("MAX_ROWS", "MAX_KEYS", "MAX_TOGETHER"), limits, strict=True):
        monkeypatch.setattr(attention_slices, limit, value)
    feed = _draw(name, batch, queries, keys, size)
    _assert_equal(_run(sliced_attention(name, _shape(feed)), feed), feed)


@NAMES
def test_bodies_equal_torch_forward_mode(name: str) -> None:
    feed = _draw(name, 1, *ODD, 8)
    moving = [value.removesuffix("_dot") for value in feed if value.endswith("_dot")]
    fixed = {value: feed[value] for value in "qkv" if value not in moving}

    def attention(*tensors: Tensor) -> Tensor:
        qkv = {**fixed, **dict(zip(moving, tensors, strict=True))}
        return torch.softmax(SCALE * qkv["q"] @ qkv["k"].mT, dim=-1) @ qkv["v"]

    primals = tuple(feed[value] for value in moving)
    for function in (attention_function(name), sliced_attention(name, _shape(feed))):
        _, y_dot = _run(function, feed)
        for index in range(K):
            directions = tuple(feed[f"{value}_dot"][index] for value in moving)
            _, expected = torch.func.jvp(attention, primals, directions)
            assert _error(y_dot[index], expected) < TOLERANCE


@NAMES
def test_half_precision_bodies_sum_in_float32(name: str) -> None:
    shape = AttentionShape(K, H, 1024, 2048, 16, 16)
    for function in (attention_function(name, ir.DataType.FLOAT16), sliced_attention(name, shape, ir.DataType.FLOAT16)):
        nodes = list(ir.traversal.RecursiveGraphIterator(function.graph))
        sums = [node for node in nodes if node.op_type in ("Softmax", "ReduceSum")]
        assert sums
        assert {_cast_to(node.inputs[0]) for node in sums} == {ir.DataType.FLOAT}
        products = [node for node in nodes if node.op_type == "MatMul"]
        operands = {_cast_to(operand) for node in products for operand in node.inputs}
        assert operands <= {None, ir.DataType.FLOAT16}


@pytest.mark.parametrize(
    ("length", "limit", "expected"), [(4096, 1024, 1024), (6912, 1024, 864), (77, 1024, 77), (4099, 1024, 4099)]
)
def test_block_length_divides(length: int, limit: int, expected: int) -> None:
    assert block_length(length, limit) == expected


def test_differentiated_attention_is_one_node() -> None:
    shape = (2, 3, 5, 4)
    model = build(Row("Attention", (shape, shape, shape), torch.clone))
    for wrt, expected in (
        (("x0",), "AttentionQueryJvp"),
        (("x2",), "AttentionValueJvp"),
        (("x0", "x1", "x2"), "AttentionJvp"),
        (("x1", "x2"), "AttentionJvp"),
    ):
        differentiated = jvp(model, wrt, "y", num_tangents=K)
        assert [node.op_type for node in differentiated.graph if "ttention" in node.op_type] == [expected]
        assert [identifier[:2] for identifier in differentiated.functions] == [("memscan", expected)]


def test_a_mask_that_is_absent_is_none() -> None:
    """Exporters write an optional input that is not there as an empty name, or not at all."""
    shape = (2, 3, 5, 4)
    model = build(Row("Attention", (shape, shape, shape, None), torch.clone))
    differentiated = jvp(model, ("x0", "x1", "x2"), "y", num_tangents=K)
    assert [node.op_type for node in differentiated.graph if "ttention" in node.op_type] == ["AttentionJvp"]


@pytest.mark.parametrize(("attributes", "named"), [({"is_causal": 1}, "is_causal"), ({"softcap": 2.0}, "softcap")])
def test_attention_of_another_kind_is_refused(attributes: dict[str, float], named: str) -> None:
    shape = (2, 3, 5, 4)
    model = build(Row("Attention", (shape, shape, shape), torch.clone, attributes))
    with pytest.raises(MissingRule, match=f"Attention node 'node' with {named}: only scaled dot-product attention"):
        jvp(model, ("x0",), "y", num_tangents=K)


def _cast_to(value: ir.Value | None) -> ir.DataType | None:
    """The dtype that a value was cast to, where a Cast made it."""
    producer = None if value is None else value.producer()
    return ir.DataType(producer.attributes["to"].as_int()) if producer and producer.op_type == "Cast" else None


def _draw(name: str, batch: int, queries: int, keys: int, size: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"q": (batch, H, queries, size), "k": (batch, H, keys, size), "v": (batch, H, keys, size)}
    shapes |= {f"{value}_dot": (K, *shape) for value, shape in shapes.items()}
    return {value: torch.randn(shapes[value], generator=generator) for value in INPUTS[name]}


def _shape(feed: dict[str, Tensor]) -> AttentionShape:
    return AttentionShape(K, H, feed["q"].shape[2], feed["k"].shape[2], feed["k"].shape[3], feed["v"].shape[3])


def _assert_equal(found: list[np.ndarray], feed: dict[str, Tensor]) -> None:
    expected = jvp_attention(**{value: tensor.double() for value, tensor in feed.items()}, scale=SCALE)
    for output, reference in zip(found, expected, strict=True):
        assert reference is not None
        assert output.shape == reference.shape
        assert _error(output, reference) < TOLERANCE


def _error(found: np.ndarray, expected: Tensor) -> float:
    return float(np.linalg.norm(found - expected.numpy()) / np.linalg.norm(expected.numpy()))


def _run(function: ir.Function, feed: dict[str, Tensor]) -> list[np.ndarray]:
    float32 = ir.TensorType(ir.DataType.FLOAT)
    inputs = [ir.Value(name=value, shape=ir.Shape(tensor.shape), type=float32) for value, tensor in feed.items()]
    node = ir.node(
        function.name, inputs, {"scale": SCALE}, domain=function.domain, overload=function.overload, num_outputs=2
    )
    for value, name in zip(node.outputs, ("y", "y_dot"), strict=True):
        value.name, value.type = name, float32
    graph = ir.Graph(inputs, node.outputs, nodes=[node], opset_imports={"": OPSET, function.domain: 1}, name="call")
    model = ir.Model(graph, ir_version=10, functions=[function])
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {name: tensor.numpy() for name, tensor in feed.items()})
