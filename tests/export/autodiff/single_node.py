"""One-operator models in float64, differentiated and evaluated by onnx's reference implementation."""

import numpy as np
import onnx_ir as ir
import scipy.special
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from memscan.export.autodiff.cut import UnmarkCut
from memscan.export.autodiff.jvp import jvp
from memscan.export.graphs.trace import OPSET
from memscan.export.nodes.shapes import infer_outputs
from tests.export.autodiff.rule_row import Row

Arrays = dict[str, np.ndarray]


class Erf(OpRun):
    """Erf in float64: onnx's own computes in float32 whatever it is given."""

    op_domain = ""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        return (scipy.special.erf(x),)


class Gelu(OpRun):
    """Gelu in float64: onnx's own calls its own Erf."""

    op_domain = ""

    def _run(self, x: np.ndarray, approximate: str = "none") -> tuple[np.ndarray]:
        if approximate == "tanh":
            return (x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),)
        return (x * scipy.special.ndtr(x),)


def build(row: Row, *, symbolic: bool = False) -> ir.Model:
    """A model with inputs x0, x1, ... for the row's shapes and the output `y` in float64."""
    inputs = [_input(entry, f"x{index}", symbolic) for index, entry in enumerate(row.inputs)]
    domain, _, op_type = row.op.rpartition("::")
    node = ir.node(op_type, inputs, row.attributes, domain=domain, num_outputs=row.outputs, name="node")
    for index, value in enumerate(node.outputs):
        value.name = f"y{index}"
    if domain or op_type == "GroupNormalization":  # onnx has no inference for it: the output is like the input
        node.outputs[0].shape, node.outputs[0].type = inputs[0].shape, inputs[0].type
    else:
        infer_outputs(node, OPSET)
    last = ir.node("Cast", [node.outputs[0]], {"to": ir.DataType.DOUBLE}, name="last")
    last.outputs[0].name = "y"
    infer_outputs(last, OPSET)
    if symbolic:
        node.outputs[0].shape = last.outputs[0].shape = ir.Shape(["N", *node.outputs[0].shape.dims[1:]])
    constants = [value for value in inputs if value is not None and value.const_value is not None]
    graph = ir.Graph(
        [value for value in inputs if value is not None and value.const_value is None],
        last.outputs,
        nodes=[node, last],
        initializers=constants,
        opset_imports={"": OPSET, **({domain: 1} if domain else {})},
        name=op_type,
    )
    return ir.Model(graph, ir_version=10)


def differentiable(row: Row) -> list[str]:
    """Names of the inputs that may carry a tangent."""
    return [f"x{index}" for index, entry in enumerate(row.inputs) if isinstance(entry, tuple)]


def draw(row: Row, num_tangents: int) -> tuple[Arrays, Arrays]:
    """A random point of the row's domain and random directions there, by input."""
    generator = np.random.default_rng(0)
    shapes = {f"x{index}": entry for index, entry in enumerate(row.inputs) if isinstance(entry, tuple)}
    point = {name: generator.normal(size=shape) for name, shape in shapes.items()}
    if row.domain == "positive":
        point = {name: np.abs(value) + 0.5 for name, value in point.items()}
    directions = {name: generator.normal(size=(num_tangents, *shape)) for name, shape in shapes.items()}
    return point, directions


def evaluate(model: ir.Model, feed: Arrays, output: str) -> np.ndarray:
    """One output of a model."""
    (value,) = ReferenceEvaluator(ir.to_proto(model), new_ops=[Erf, Gelu]).run([output], feed)
    return np.asarray(value)


def tangent(model: ir.Model, point: Arrays, directions: Arrays) -> np.ndarray:
    """y_dot `[K, *y.shape]` at `point` by the rules, with tangents for the inputs named in `directions`."""
    num_tangents = len(next(iter(directions.values())))
    differentiated = jvp(model, tuple(directions), "y", num_tangents=num_tangents)
    UnmarkCut()(differentiated)
    return evaluate(differentiated, {**point, **{f"{name}_dot": d for name, d in directions.items()}}, "y_dot")


def _input(entry: object, name: str, symbolic: bool) -> ir.Value | None:
    if entry is None:
        return None
    if isinstance(entry, tuple):
        shape = ("N", *entry[1:]) if symbolic else entry
        return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.DOUBLE))
    tensor = ir.Tensor(np.asarray(entry), name=name)
    return ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
