"""The emitter: where its nodes go, what they are called, and that a scope left by an error leaves no trace."""

import numpy as np
import onnx_ir as ir
import pytest

from memscan.export.autodiff.tape import Tape
from memscan.export.graphs.trace import OPSET
from memscan.export.nodes.emitter import Emitter
from memscan.scanner.errors import ExportError


@pytest.fixture
def graph() -> ir.Graph:
    """Two nodes, Exp and Sin, over x `[N, 4]`."""
    x = ir.Value(name="x", shape=ir.Shape(["N", 4]), type=ir.TensorType(ir.DataType.FLOAT))
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": OPSET}, name="graph")
    emitter = Emitter(graph)
    for op_type in ("Exp", "Sin"):
        with emitter.scope(op_type.lower()):
            emitter.op(op_type, x)
    return graph


def test_nodes_have_the_names_of_their_scope_and_inferred_types(graph: ir.Graph) -> None:
    emitter, (x,) = Emitter(graph), graph.inputs
    with emitter.scope("mean") as nodes:
        y = emitter.op("ReduceMean", emitter.op("Abs", x), emitter.ints(1), keepdims=0)
    assert [(node.name, node.outputs[0].name) for node in nodes] == [
        ("mean/0_Abs", "mean/0_Abs"),
        ("mean/1_ReduceMean", "mean/1_ReduceMean"),
    ]
    assert (y.dtype, str(y.shape)) == (ir.DataType.FLOAT, "[N]")
    with emitter.scope("parts"):
        parts = emitter.ops("Split", x, emitter.ints(1, 3), outputs=2, axis=1)
    assert [(part.name, str(part.shape)) for part in parts] == [
        ("parts/0_Split", "[N,1]"),
        ("parts/0_Split_1", "[N,3]"),
    ]


@pytest.mark.parametrize(
    ("place", "expected"),
    [(None, "Exp Sin Abs Neg"), ("before", "Exp Abs Neg Sin"), ("after", "Exp Abs Neg Sin")],
    ids=str,
)
def test_nodes_go_where_the_scope_says(place: str | None, expected: str, graph: ir.Graph) -> None:
    emitter, beside = Emitter(graph), graph[0 if place == "after" else 1]
    with emitter.scope("there", **({place: beside} if place else {})):
        emitter.op("Neg", emitter.op("Abs", graph.inputs[0]))
    assert [node.op_type for node in graph] == expected.split()


def test_scope_left_by_an_error_adds_nothing_and_ends(graph: ir.Graph) -> None:
    emitter, (x,) = Emitter(graph), graph.inputs
    with pytest.raises(ExportError, match="a rule emitted an invalid MatMul"), emitter.scope("product"):
        emitter.op("MatMul", emitter.op("Abs", x), emitter.constant(np.zeros((3, 2), np.float32)))
    assert [node.op_type for node in graph] == ["Exp", "Sin"]
    with emitter.scope("product"):
        assert emitter.op("Abs", x).name == "product/0_Abs"


def test_inner_scope_leaves_the_outer_one_as_it_was(graph: ir.Graph) -> None:
    emitter, (x,) = Emitter(graph), graph.inputs
    with emitter.scope("outer") as nodes:
        emitter.op("Abs", x)
        with emitter.scope("inner"):
            emitter.op("Neg", x)
        emitter.op("Cos", x)
    assert [node.name for node in nodes] == ["outer/0_Abs", "outer/1_Cos"]
    assert [node.op_type for node in graph] == ["Exp", "Sin", "Neg", "Abs", "Cos"]


def test_equal_constants_are_one_initializer(graph: ir.Graph) -> None:
    emitter, (x,) = Emitter(graph), graph.inputs
    assert emitter.ints(1, 2) is emitter.ints(1, 2)
    assert emitter.scalar(1, x) is Emitter(graph).scalar(1.0, x)
    apart = [
        np.array(1, np.int64),
        np.array([1], np.int64),
        np.array(1, np.float32),
        np.array(-0.0),
        np.array(0.0),
        np.zeros((0,)),
        np.zeros((0, 3)),
    ]
    constants = [emitter.constant(array) for array in apart]
    assert len(set(constants)) == len(apart)
    for constant, array in zip(constants, apart, strict=True):
        np.testing.assert_array_equal(constant.const_value.numpy(), array, strict=True)


def test_reshapes_in_a_row_become_one(graph: ir.Graph) -> None:
    emitter, (x,) = Emitter(graph), graph.inputs
    batch = x.shape.dims[0]
    with emitter.scope("reshapes"):
        assert emitter.reshape(x, batch, 4) is x
        once = emitter.reshape(x, batch, 2, 2)
        assert emitter.reshape(once, batch, 4) is x
        assert emitter.reshape(once, batch, 4, 1).producer().inputs[0] is x
        inferred = emitter.reshape(x, -1, 2)
    assert str(inferred.shape)[-3:] == ",2]"
    with pytest.raises(ExportError, match="more than one dimension is symbolic"):
        emitter.reshape(x, batch, ir.SymbolicDim("M"))


def test_sum_with_a_negative_is_a_difference(graph: ir.Graph) -> None:
    x_dot = ir.Value(name="x_dot", shape=ir.Shape([3, "N", 4]), type=ir.TensorType(ir.DataType.FLOAT))
    graph.inputs.append(x_dot)
    tape = Tape(graph, 3)
    with tape.scope("difference"):
        a, b = tape.op("Exp", x_dot), tape.op("Sin", x_dot)
        difference = tape.add(a, tape.op("Neg", b)).producer()
    assert (difference.op_type, difference.inputs) == ("Sub", (a, b))
