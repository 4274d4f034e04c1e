"""Shapes and dtypes of graph values: read, and inferred node by node for the nodes that we add.

Whole-model inference (`onnx.shape_inference.infer_shapes`) silently stops at operators that it does not know, so
nothing here relies on it: a shape that is missing is an error.
"""

import onnx
import onnx_ir as ir
from onnx.shape_inference import infer_node_outputs

from memscan.scanner.errors import ExportError

Dim = int | ir.SymbolicDim

_MAX_DATA = 64


def shape_of(value: ir.Value) -> tuple[Dim, ...]:
    """The shape of a value that is known to have one.

    Raises:
        ExportError: it has none.
    """
    if value.shape is None:
        raise ExportError(f"{value.name} has no shape")
    return value.shape.dims


def static_dims(value: ir.Value, start: int = 0) -> list[int]:
    """The dimensions of `value` from `start` on.

    Raises:
        ExportError: one of them is symbolic.
    """
    dims = [dim for dim in shape_of(value)[start:] if isinstance(dim, int)]
    if len(dims) < len(shape_of(value)[start:]):
        raise ExportError(f"{value.name} has shape {value.shape}: from dimension {start} on it must be static")
    return dims


def dtype_of(value: ir.Value) -> ir.DataType:
    """The dtype of a value that is known to have one.

    Raises:
        ExportError: it has none.
    """
    if value.dtype is None:
        raise ExportError(f"{value.name} has no dtype")
    return value.dtype


def describe(node: ir.Node) -> str:
    """A node's operator and name, for error messages."""
    return f"{node.domain + '::' if node.domain else ''}{node.op_type} node {node.name!r}"


def operand(node: ir.Node, index: int) -> ir.Value:
    """The input `index` of `node`, which must be there."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise ExportError(f"{describe(node)} lacks its input {index}")
    return value


def infer_outputs(node: ir.Node, opset: int) -> None:
    """Set shape and dtype of `node`'s outputs from its inputs by the operator's own inference function.

    Args:
        node: a node of the default domain whose inputs have names, shapes and dtypes.
        opset: version of the default domain.

    Raises:
        ExportError: the inputs contradict each other, or a rank or dtype cannot be inferred.
    """
    inputs = [value for value in node.inputs if value is not None]
    try:
        inferred = infer_node_outputs(
            onnx.defs.get_schema(node.op_type, opset, node.domain),
            ir.to_proto(node),
            {str(value.name): _type_proto(value) for value in inputs},
            {
                str(value.name): ir.to_proto(value.const_value)
                for value in inputs
                if value.const_value is not None and value.const_value.size <= _MAX_DATA
            },
            opset_imports=[onnx.helper.make_opsetid("", opset)],
        )
    except onnx.shape_inference.InferenceError as error:
        shapes = ", ".join(f"{value.name} {value.dtype}{value.shape}" for value in inputs)
        raise ExportError(f"a rule emitted an invalid {describe(node)} over {shapes}: {error}") from error
    for value in node.outputs:
        proto = inferred.get(str(value.name))
        if proto is None or not proto.tensor_type.HasField("shape"):
            raise ExportError(f"no shape can be inferred for {value.name}, made by {describe(node)}")
        value.dtype = ir.DataType(proto.tensor_type.elem_type)
        value.shape = ir.Shape(
            [
                dim.dim_value if dim.HasField("dim_value") else ir.SymbolicDim(dim.dim_param or None)
                for dim in proto.tensor_type.shape.dim
            ]
        )


def _type_proto(value: ir.Value) -> onnx.TypeProto:
    dims = [dim if isinstance(dim, int) else dim.value for dim in shape_of(value)]
    return onnx.helper.make_tensor_type_proto(dtype_of(value).value, dims)
