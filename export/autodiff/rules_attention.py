"""The derivative rule of attention: the node is replaced by one that returns the output and its K tangents together."""

import onnx_ir as ir

from memscan.export.attention.dot_product import beyond_dot_product, dot_product_scale
from memscan.export.attention.functions import ATTENTION_JVP, ATTENTION_QUERY_JVP, ATTENTION_VALUE_JVP, DOMAIN
from memscan.export.autodiff.rule_table import MissingRule, RuleTable, first_tangents
from memscan.export.autodiff.tape import Tape
from memscan.export.nodes.shapes import describe, operand, shape_of

RULES = RuleTable()


@RULES.rule("Attention")
def attention(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """Scaled dot-product attention; tangents of the query alone, of the value alone, or of any."""
    if found := beyond_dot_product(node):
        raise MissingRule(f"no rule for {describe(node)} with {found}: only scaled dot-product attention")
    primals = [operand(node, index) for index in range(3)]
    y = node.outputs[0]
    y_dot_like = ir.Value(shape=ir.Shape([tape.num_tangents, *shape_of(y)]), type=y.type)
    q_dot, k_dot, v_dot = moving = first_tangents(node, x_dots, len(primals))
    if q_dot is not None and k_dot is None and v_dot is None:
        function, dots = ATTENTION_QUERY_JVP, [q_dot]
    elif v_dot is not None and q_dot is None and k_dot is None:
        function, dots = ATTENTION_VALUE_JVP, [v_dot]
    else:
        function = ATTENTION_JVP
        dots = [tape.zeros(x) if x_dot is None else x_dot for x, x_dot in zip(primals, moving, strict=True)]
    y_new, y_dot = tape.call(DOMAIN, function, [*primals, *dots], [y, y_dot_like], scale=dot_product_scale(node))
    tape.supersede(y, y_new)
    return y_dot
