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

from memscan.export.nodes.conditions import Unfit, require_shapes
from memscan.export.nodes.emitter import Emitter
from memscan.export.nodes.shapes import describe

Precision = Literal["fp32", "fp16", "bf16"]

HALF_TYPES: dict[Precision, ir.DataType] = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}

_PRODUCTS = frozenset({"Attention", "Conv", "Gemm", "MatMul"})
_IN_FLOAT32 = frozenset(
    {"Cos", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "RMSNormalization"}
    | {"ReduceMean", "ReduceSum", "Sin", "Softmax"}
)
_FIRST_INPUT_ONLY = frozenset({"Resize"})
"""Operators whose further floating-point inputs are float32 by definition."""
_SUBGRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


class HalfPrecision(ir.passes.InPlacePass):
    """Change the dtypes of a float32 graph, with a Cast where they meet.

    Requires: every value has a shape and a dtype; no subgraphs.
    Ensures: every value has a dtype; products read and write half precision, normalizations and sums float32, and so
    do the graph's inputs and outputs; attention has its softmax in float32. Weights are converted when they are
    written, under their names with the dtype appended.

    Args:
        dtype: FLOAT16 or BFLOAT16.
    """

    def __init__(self, dtype: ir.DataType) -> None:
        super().__init__()
        self._half = dtype
        self._casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def requires(self, model: ir.Model) -> None:
        require_shapes(model)
        for node in model.graph:
            if any(attribute.type in _SUBGRAPHS for attribute in node.attributes.values()):
                raise Unfit(f"{describe(node)} holds a graph of its own, whose dtypes would stay as they are")

    def ensures(self, model: ir.Model) -> None:
        for value in (*model.graph.inputs, *model.graph.outputs):
            if value.dtype == self._half:
                raise ir.passes.PostconditionError(f"{value.name} is {value.dtype}, at the border of the graph")
        for node in model.graph:
            dtypes = {value.dtype for value in (*node.inputs, *node.outputs) if value is not None}
            wrong = ir.DataType.FLOAT if node.op_type in _PRODUCTS else self._half
            if None in dtypes or (node.op_type in _PRODUCTS | _IN_FLOAT32 and wrong in dtypes):
                found = ", ".join(sorted(str(dtype) for dtype in dtypes))
                raise ir.passes.PostconditionError(f"{describe(node)} is left over {found}")

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
            converted = _computed(graph, value, dtype) if constant is None else _constant(graph, value, constant, dtype)
            self._casts[key] = converted
        return self._casts[key]


def _constant(graph: ir.Graph, value: ir.Value, tensor: ir.TensorProtocol, dtype: ir.DataType) -> ir.Value:
    name = f"{value.name}.{dtype.name.lower()}"

    def convert() -> ir.TensorProtocol:
        return ir.Tensor(tensor.numpy().astype(dtype.numpy()), name=name)

    shape = ir.Shape(tensor.shape.numpy())
    # Converted when it is written: a second copy of all weights would double the memory of an export.
    half = ir.LazyTensor(convert, dtype=dtype, shape=shape, name=name)
    converted = ir.Value(name=name, shape=shape, type=ir.TensorType(dtype), const_value=half)
    graph.register_initializer(converted)
    return converted


def _computed(graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    emitter, name, producer = Emitter(graph), f"{value.name}_{dtype.name.lower()}", value.producer()
    with emitter.scope(name, before=graph[0]) if producer is None else emitter.scope(name, after=producer):
        cast = emitter.cast(value, dtype)
    cast.name = name
    return cast
