"""Half precision: products in float16 or bfloat16, everything that sums over many elements in float32.

Convolutions, matrix products and attention read and write half precision (their hardware accumulates in float32).
Normalizations, reductions and trigonometric functions of the timestep run in float32. Every other node follows its
operands: float32 where one of them is, so that what lies between a normalization and the next product is not rounded,
and v-prediction is converted to eps in float32; half precision where all of them are, which is the residual stream.
Inputs and outputs of the graph stay float32. The pass comes before differentiation: the tangents inherit it all.
"""

from typing import Literal

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

Precision = Literal["fp32", "fp16", "bf16"]

HALF_TYPES: dict[Precision, ir.DataType] = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}

_PRODUCTS = frozenset({"Attention", "Conv", "Gemm", "MatMul"})
_IN_FLOAT32 = frozenset(
    {"Cos", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "ReduceMean", "ReduceSum", "Sin"}
    | {"Softmax"}
)
_FIRST_INPUT_ONLY = frozenset({"Resize"})
"""Operators whose further floating-point inputs are float32 by definition."""


class HalfPrecision(ir.passes.InPlacePass):
    """Change the dtypes of a float32 graph, with a Cast where they meet.

    Requires: every value has a dtype; no subgraphs.
    Ensures: every value has a dtype; weights of products are half precision, made when they are written, under their
    names with the dtype appended; attention has its softmax in float32.

    Args:
        dtype: FLOAT16 or BFLOAT16.
    """

    def __init__(self, dtype: ir.DataType) -> None:
        super().__init__()
        self._half = dtype
        self._casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        self._casts.clear()
        for node in tuple(graph):
            if node.op_type == "Cast":
                continue
            operands = [
                index
                for index, value in enumerate(node.inputs)
                if value is not None and value.dtype in (ir.DataType.FLOAT, self._half)
            ]
            if node.op_type in _FIRST_INPUT_ONLY:
                operands = operands[:1]
            if operands:
                self._retype(graph, node, operands)
        for index, output in enumerate(graph.outputs):
            if output.dtype == self._half:
                name, graph.outputs[index] = output.name, self._cast(graph, output, ir.DataType.FLOAT)
                output.name, graph.outputs[index].name = f"{name}_{self._half.name.lower()}", name
        RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=True)

    def _retype(self, graph: ir.Graph, node: ir.Node, operands: list[int]) -> None:
        dtype = self._dtype_for(node, operands)
        for index in operands:
            value = node.inputs[index]
            assert value is not None
            node.replace_input_with(index, self._cast(graph, value, dtype))
        for output in node.outputs:
            if output.dtype == ir.DataType.FLOAT:
                output.type = ir.TensorType(dtype)  # not output.dtype: clones share the type object
        if node.op_type == "Attention":
            node.attributes["softmax_precision"] = ir.AttrInt64("softmax_precision", ir.DataType.FLOAT.value)

    def _dtype_for(self, node: ir.Node, operands: list[int]) -> ir.DataType:
        if node.op_type in _PRODUCTS:
            return self._half
        computed = [
            value for value in (node.inputs[index] for index in operands) if value and value.const_value is None
        ]
        halves = [value.dtype == self._half for value in computed]
        return self._half if halves and all(halves) and node.op_type not in _IN_FLOAT32 else ir.DataType.FLOAT

    def _cast(self, graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """`value` in `dtype`: itself, a converted constant, or a Cast behind it, made once."""
        if value.dtype == dtype:
            return value
        key = value, dtype
        if key not in self._casts:
            constant = value.const_value
            converted = _computed(graph, value, dtype) if constant is None else _constant(graph, constant, dtype)
            self._casts[key] = converted
        return self._casts[key]


def _constant(graph: ir.Graph, tensor: ir.TensorProtocol, dtype: ir.DataType) -> ir.Value:
    name = f"{tensor.name}.{dtype.name.lower()}"

    def convert() -> ir.TensorProtocol:
        return ir.Tensor(tensor.numpy().astype(dtype.numpy()), name=name)

    shape = ir.Shape(tensor.shape.numpy())
    # Converted when it is written: a second copy of all weights would double the memory of an export.
    half = ir.LazyTensor(convert, dtype=dtype, shape=shape, name=name)
    value = ir.Value(name=name, shape=shape, type=ir.TensorType(dtype), const_value=half)
    graph.register_initializer(value)
    return value


def _computed(graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    node = ir.node("Cast", [value], {"to": dtype})
    (cast,) = node.outputs
    cast.name, cast.shape, cast.type = f"{value.name}_{dtype.name.lower()}", value.shape, ir.TensorType(dtype)
    node.name = cast.name
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], [node])
    else:
        graph.insert_after(producer, [node])
    return cast
