"""The derivative rule of attention: the node is replaced by one that returns the output and its K tangents together."""

import math

import onnx_ir as ir

from memscan.export.attention.functions import ATTENTION_JVP, ATTENTION_QUERY_JVP, DOMAIN
from memscan.export.autodiff.rule_table import MissingRule, RuleTable
from memscan.export.autodiff.shapes import describe, operand, shape_of, static_dims
from memscan.export.autodiff.tape import Tape

RULES = RuleTable()


@RULES.rule("Attention")
def attention(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """Plain attention over `[N, H, tokens, D]`; tangents of the query alone, or of some of query, key and value."""
    primals = [operand(node, index) for index in range(3)]
    y = node.outputs[0]
    scale = plain_scale(node)
    y_dot_like = ir.Value(shape=ir.Shape([tape.num_tangents, *shape_of(y)]), type=y.type)
    q_dot, k_dot, v_dot = x_dots[:3]
    if q_dot is not None and k_dot is None and v_dot is None:
        function, dots = ATTENTION_QUERY_JVP, [q_dot]
    else:
        function = ATTENTION_JVP
        dots = [tape.zeros(x) if x_dot is None else x_dot for x, x_dot in zip(primals, x_dots, strict=True)]
    y_new, y_dot = tape.call(DOMAIN, function, [*primals, *dots], [y, y_dot_like], scale=scale)
    tape.supersede(y, y_new)
    return y_dot


def plain_scale(node: ir.Node, *, may_be_masked: bool = False) -> float:
    """The scale of an Attention node that is softmax(scale q k^T) v over `[N, H, tokens, D]` and nothing more.

    Args:
        may_be_masked: let a boolean mask pass.

    Raises:
        MissingRule: it has a mask, a cache, shared heads, another rank or another softmax.
    """
    q_shape, k_shape = shape_of(operand(node, 0)), shape_of(operand(node, 1))
    extras = [value for value in node.inputs[3:] if value is not None]
    if may_be_masked and extras and extras[0] is node.inputs[3] and extras[0].dtype == ir.DataType.BOOL:
        del extras[0]
    found = [str(value.name) for value in extras]
    found += [name for name in ("is_causal", "softcap") if name in node.attributes and node.attributes[name].value]
    found += [str(output.name) for output in node.outputs[1:] if output.uses()]
    if len(q_shape) != 4 or q_shape[1] != k_shape[1]:
        found.append(f"query {operand(node, 0).shape} and key {operand(node, 1).shape}")
    if found:
        raise MissingRule(f"no rule for {describe(node)} with {', '.join(found)}: only plain attention over heads")
    return node.attributes.get_float("scale", 1 / math.sqrt(static_dims(operand(node, 0), 1)[-1]))
