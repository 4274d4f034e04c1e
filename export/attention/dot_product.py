"""The one form of the Attention operator that is differentiated, sliced and written out: scaled dot-product attention,

softmax(scale q k^T) v,    q [N, H, M, D], k [N, H, S, D], v [N, H, S, Dv]
"""

import math

import onnx_ir as ir

from memscan.export.nodes.shapes import operand, shape_of, static_dims


def beyond_dot_product(node: ir.Node, *, may_be_masked: bool = False) -> str:
    """What an Attention node has besides: a mask, a cache, shared heads, another rank or another softmax.

    Args:
        may_be_masked: let a mask pass, boolean or added to the scores.

    Returns:
        A list for error messages; empty where it is scaled dot-product attention and nothing more.
    """
    q_shape, k_shape, q_dtype = shape_of(operand(node, 0)), shape_of(operand(node, 1)), operand(node, 0).dtype
    extras = [value for value in node.inputs[3:] if value is not None]
    if may_be_masked and extras and extras[0] is node.inputs[3] and extras[0].dtype in (ir.DataType.BOOL, q_dtype):
        del extras[0]
    found = [str(value.name) for value in extras]
    found += [name for name in ("is_causal", "softcap") if name in node.attributes and node.attributes[name].value]
    found += [str(output.name) for output in node.outputs[1:] if output.uses()]
    if len(q_shape) != 4 or q_shape[1] != k_shape[1]:
        found.append(f"query {operand(node, 0).shape} and key {operand(node, 1).shape}")
    return ", ".join(found)


def dot_product_scale(node: ir.Node) -> float:
    """The scale of scaled dot-product attention: by default 1 / sqrt(D)."""
    return node.attributes.get_float("scale", 1 / math.sqrt(static_dims(operand(node, 0), 1)[-1]))
