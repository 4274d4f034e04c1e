"""Derivative rules of products: matrix products and convolutions, and the resampling that is convolution in disguise.

Operators with one batch axis get K folded into it. "Linear" is not "affine": biases and fill values are left out.
"""

from typing import Any

import onnx_ir as ir

from memscan.export.autodiff.rule_table import MissingRule, RuleTable
from memscan.export.autodiff.tape import Tape
from memscan.export.nodes.shapes import describe, operand, shape_of, static_dims

RULES = RuleTable()


# y = A B: A_dot B and A B_dot; K is one more batch dimension of the products.
def _over_left(tape: Tape, node: ir.Node, a_dot: ir.Value) -> ir.Value:
    return tape.op("MatMul", a_dot, _matrices(node)[1])


def _over_right(tape: Tape, node: ir.Node, b_dot: ir.Value) -> ir.Value:
    return tape.op("MatMul", _matrices(node)[0], b_dot)


def _matrices(node: ir.Node) -> tuple[ir.Value, ir.Value]:
    a, b = operand(node, 0), operand(node, 1)
    if min(len(shape_of(a)), len(shape_of(b))) < 2:
        raise MissingRule(f"no derivative rule for {describe(node)} with a vector operand")
    return a, b


RULES.broadcast("MatMul", _over_left, _over_right)


# y = alpha A' B' + beta C, with ' the optional transposition: alpha A'_dot B', alpha A' B'_dot and beta C_dot
def _over_gemm_left(tape: Tape, node: ir.Node, a_dot: ir.Value) -> ir.Value:
    left = tape.transpose(a_dot, 0, 2, 1) if node.attributes.get_int("transA", 0) else a_dot
    alpha, trans_b = node.attributes.get_float("alpha", 1.0), node.attributes.get_int("transB", 0)
    product = tape.op("Gemm", tape.fold(left), operand(node, 1), alpha=alpha, transB=trans_b)
    return tape.unfold(product, node.outputs[0])


def _over_gemm_right(tape: Tape, node: ir.Node, b_dot: ir.Value) -> ir.Value:
    a, alpha = operand(node, 0), node.attributes.get_float("alpha", 1.0)
    left = tape.transpose(a, 1, 0) if node.attributes.get_int("transA", 0) else a
    right = tape.transpose(b_dot, 0, 2, 1) if node.attributes.get_int("transB", 0) else b_dot
    return tape.scale(tape.op("MatMul", left, right), tape.scalar(alpha, node.outputs[0]))


def _over_gemm_addend(tape: Tape, node: ir.Node, c_dot: ir.Value) -> ir.Value:
    beta = node.attributes.get_float("beta", 1.0)
    return tape.scale(tape.align(c_dot, 2), tape.scalar(beta, node.outputs[0]))


RULES.terms("Gemm", _over_gemm_left, _over_gemm_right, _over_gemm_addend)


@RULES.first_operand("Conv", "ConvTranspose")
def conv(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """The convolution of the tangent, without the bias."""
    return _folded(tape, node, x_dot, operand(node, 1))


@RULES.first_operand("AveragePool", "GlobalAveragePool")
def pool(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """The same averages of the tangent."""
    return _folded(tape, node, x_dot)


@RULES.first_operand("Resize")
def resize(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """The same interpolation of the tangent, to the same height and width; what lies outside is extrapolated as 0."""
    y = node.outputs[0]
    roi, scales, sizes = (*node.inputs, None, None, None)[1:4]
    if shape_of(y)[0] != shape_of(operand(node, 0))[0]:
        raise MissingRule(f"no derivative rule for {describe(node)} over the batch, which K is folded into")
    attributes = _attributes(node)
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
    return tape.unfold(tape.op(node.op_type, tape.fold(x_dot), *constants, **_attributes(node)), node.outputs[0])


def _attributes(node: ir.Node) -> dict[str, Any]:
    return {name: attribute.value for name, attribute in node.attributes.items()}
