"""Derivative rules of products: matrix products and convolutions, and the resampling that is convolution in disguise.

Operators with one batch axis get K folded into it. "Linear" is not "affine": biases and fill values are left out.
"""

import onnx_ir as ir

from memscan.export.autodiff.rule_table import MissingRule, RuleTable, only_first, tangent
from memscan.export.autodiff.shapes import describe, operand, shape_of, static_dims
from memscan.export.autodiff.tape import Tape

RULES = RuleTable()


@RULES.rule("MatMul")
def matmul(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """(A B)_dot = A_dot B + A B_dot; K is one more batch dimension of the product."""
    a, b = operand(node, 0), operand(node, 1)
    rank = len(shape_of(node.outputs[0]))
    if min(len(shape_of(a)), len(shape_of(b))) < 2:
        raise MissingRule(f"no derivative rule for {describe(node)} with a vector operand")
    a_dot, b_dot = (None if x_dot is None else tape.align(x_dot, rank) for x_dot in x_dots)
    terms = []
    if a_dot is not None:
        terms.append(tape.op("MatMul", a_dot, b))
    if b_dot is not None:
        terms.append(tape.op("MatMul", a, b_dot))
    return tape.add(*terms)


@RULES.rule("Gemm")
def gemm(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """(alpha A' B' + beta C)_dot = alpha (A'_dot B' + A' B'_dot) + beta C_dot, with ' the optional transposition."""
    alpha, beta = node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)
    y = node.outputs[0]
    a_dot, b_dot, c_dot = (*x_dots, None)[:3]
    terms = []
    if a_dot is not None:
        left = tape.op("Transpose", a_dot, perm=[0, 2, 1]) if node.attributes.get_int("transA", 0) else a_dot
        trans_b = node.attributes.get_int("transB", 0)
        terms.append(tape.unfold(tape.op("Gemm", tape.fold(left), operand(node, 1), alpha=alpha, transB=trans_b), y))
    if b_dot is not None:
        a = operand(node, 0)
        left = tape.op("Transpose", a, perm=[1, 0]) if node.attributes.get_int("transA", 0) else a
        right = tape.op("Transpose", b_dot, perm=[0, 2, 1]) if node.attributes.get_int("transB", 0) else b_dot
        terms.append(tape.scale(tape.op("MatMul", left, right), tape.scalar(alpha, y)))
    if c_dot is not None:
        terms.append(tape.scale(tape.align(c_dot, 2), tape.scalar(beta, y)))
    return tape.add(*terms)


@RULES.rule("Conv", "ConvTranspose")
def conv(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """The convolution of the tangent, without the bias."""
    return _folded(tape, node, only_first(node, x_dots), operand(node, 1))


@RULES.rule("AveragePool", "GlobalAveragePool")
def pool(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """The same averages of the tangent."""
    return _folded(tape, node, tangent(x_dots[0]))


@RULES.rule("Resize")
def resize(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """The same interpolation of the tangent, to the same height and width; what lies outside is extrapolated as 0."""
    x_dot, y = only_first(node, x_dots), node.outputs[0]
    roi, scales, sizes = (*node.inputs, None, None, None)[1:4]
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    if sizes is not None:
        # Stated for every axis, they would include a batch that K is folded into.
        if roi is not None or attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise MissingRule(f"no derivative rule for {describe(node)} with a region or a kept aspect ratio")
        height_width = static_dims(y, 2)
        attributes["axes"] = list(range(2, 2 + len(height_width)))
        sizes = tape.ints(*height_width)
    if attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        attributes["extrapolation_value"] = 0.0
    _, *spatial = shape_of(y)
    x_folded = tape.fold(x_dot)
    folded = tape.op("Resize", x_folded, roi, scales, sizes, shape=[shape_of(x_folded)[0], *spatial], **attributes)
    return tape.unfold(folded, y)


def _folded(tape: Tape, node: ir.Node, x_dot: ir.Value, *constants: ir.Value) -> ir.Value:
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    return tape.unfold(tape.op(node.op_type, tape.fold(x_dot), *constants, **attributes), node.outputs[0])
