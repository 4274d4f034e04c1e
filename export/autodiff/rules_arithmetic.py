"""Derivative rules of elementwise arithmetic, elementwise functions, sums and means."""

import math

import onnx_ir as ir

from memscan.export.autodiff.cut import STOP
from memscan.export.autodiff.rule_table import RuleTable, constant_ints
from memscan.export.autodiff.tape import Tape
from memscan.export.nodes.shapes import dtype_of, operand, shape_of

RULES = RuleTable()

RULES.zero(
    "Shape", "Size", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Sign", "Floor", "Ceil", "Round"
)
RULES.zero(STOP)

RULES.elementwise("Abs", lambda tape, x, y: tape.op("Sign", x))
RULES.elementwise("Cos", lambda tape, x, y: tape.op("Neg", tape.op("Sin", x)))
RULES.elementwise("Exp", lambda tape, x, y: y)
RULES.elementwise("Log", lambda tape, x, y: tape.op("Reciprocal", x))
RULES.elementwise("Reciprocal", lambda tape, x, y: tape.op("Neg", tape.op("Mul", y, y)))
RULES.elementwise("Relu", lambda tape, x, y: tape.op("Sign", y))
RULES.elementwise("Sigmoid", lambda tape, x, y: tape.op("Mul", y, tape.op("Sub", tape.scalar(1, y), y)))
RULES.elementwise("Sin", lambda tape, x, y: tape.op("Cos", x))
RULES.elementwise("Sqrt", lambda tape, x, y: tape.op("Div", tape.scalar(0.5, y), y))
RULES.elementwise("Tanh", lambda tape, x, y: tape.op("Sub", tape.scalar(1, y), tape.op("Mul", y, y)))


def _gaussian(tape: Tape, x: ir.Value, scale: float, exponent: float) -> ir.Value:
    power = tape.op("Mul", tape.op("Mul", x, x), tape.scalar(exponent, x))
    return tape.op("Mul", tape.op("Exp", power), tape.scalar(scale, x))


# erf'(x) = 2 / sqrt(pi) exp(-x^2)
RULES.elementwise("Erf", lambda tape, x, y: _gaussian(tape, x, 2 / math.sqrt(math.pi), -1))


@RULES.first_operand("Gelu")
def gelu(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """gelu(x) = x Phi(x), so gelu'(x) = Phi(x) + x phi(x) with the standard normal's Phi and phi.

    The approximation has Phi(x) = (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3), and its derivative for phi.
    """
    x = operand(node, 0)
    cdf, pdf = (_tanh_normal if node.attributes.get_string("approximate", "none") == "tanh" else _normal)(tape, x)
    return tape.scale(x_dot, tape.op("Add", cdf, tape.op("Mul", x, pdf)))


def _normal(tape: Tape, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Phi(x) and phi(x)."""
    erf = tape.op("Erf", tape.op("Mul", x, tape.scalar(math.sqrt(0.5), x)))
    cdf = tape.op("Mul", tape.op("Add", erf, tape.scalar(1, x)), tape.scalar(0.5, x))
    return cdf, _gaussian(tape, x, 1 / math.sqrt(2 * math.pi), -0.5)


def _tanh_normal(tape: Tape, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """What stands for Phi(x) in the approximation, and its derivative (1 - tanh^2 u) u' / 2."""
    op, factor = tape.op, math.sqrt(2 / math.pi)
    square = op("Mul", op("Mul", x, x), tape.scalar(0.044715 * factor, x))  # u = x (factor + square)
    half_tanh = op("Mul", op("Tanh", op("Mul", x, op("Add", square, tape.scalar(factor, x)))), tape.scalar(0.5, x))
    slope = op("Add", op("Mul", square, tape.scalar(6, x)), tape.scalar(2 * factor, x))  # 2 u'
    remainder = op("Sub", tape.scalar(0.25, x), op("Mul", half_tanh, half_tanh))  # (1 - tanh^2 u) / 4
    return op("Add", half_tanh, tape.scalar(0.5, x)), op("Mul", remainder, slope)


@RULES.first_operand("Neg", "Identity")
def same_operator(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """Linear and elementwise: the operator itself, applied to the tangent."""
    return tape.op(node.op_type, x_dot)


@RULES.rule("Cast")
def cast(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value | None:
    """A cast between floating-point types; a cast to integers has no tangent."""
    (x_dot,) = x_dots
    dtype = ir.DataType(node.attributes["to"].as_int())
    return tape.cast(x_dot, dtype) if x_dot is not None and dtype.is_floating_point() else None


RULES.broadcast("Add", lambda tape, node, a_dot: a_dot, lambda tape, node, b_dot: b_dot)
RULES.broadcast("Sub", lambda tape, node, a_dot: a_dot, lambda tape, node, b_dot: tape.op("Neg", b_dot))
RULES.broadcast(
    "Mul",
    lambda tape, node, a_dot: tape.scale(a_dot, operand(node, 1)),
    lambda tape, node, b_dot: tape.scale(b_dot, operand(node, 0)),
)


# y = a / b: a_dot / b and -y b_dot / b
def _over_dividend(tape: Tape, node: ir.Node, a_dot: ir.Value) -> ir.Value:
    return tape.scale(a_dot, tape.op("Reciprocal", operand(node, 1)))


def _over_divisor(tape: Tape, node: ir.Node, b_dot: ir.Value) -> ir.Value:
    ratio = tape.op("Mul", node.outputs[0], tape.op("Reciprocal", operand(node, 1)))
    return tape.scale(b_dot, tape.op("Neg", ratio))


RULES.broadcast("Div", _over_dividend, _over_divisor)


# y = a^p: p a^(p-1) a_dot and, for a > 0 only, log(a) y p_dot
def _over_base(tape: Tape, node: ir.Node, a_dot: ir.Value) -> ir.Value:
    a, p = operand(node, 0), operand(node, 1)
    reduced = tape.op("Pow", a, tape.op("Sub", p, tape.scalar(1, p)))
    return tape.scale(a_dot, tape.op("Mul", tape.cast(p, dtype_of(reduced)), reduced))


def _over_exponent(tape: Tape, node: ir.Node, p_dot: ir.Value) -> ir.Value:
    return tape.scale(p_dot, tape.op("Mul", tape.op("Log", operand(node, 0)), node.outputs[0]))


RULES.broadcast("Pow", _over_base, _over_exponent)


@RULES.rule("Where")
def where(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """Each branch's tangent where that branch is taken, by one node; a branch without one is a scalar zero."""
    rank = len(shape_of(node.outputs[0]))
    zero = tape.scalar(0, node.outputs[0])
    branches = [zero if x_dot is None else tape.align(x_dot, rank) for x_dot in x_dots[1:]]
    return tape.op("Where", operand(node, 0), *branches)


@RULES.first_operand("ReduceSum", "ReduceMean")
def reduce(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """The same sum or mean of the tangent, accumulated in float32 at least."""
    rank = len(shape_of(x_dot)) - 1
    axes = constant_ints(node, 1)
    if not axes:
        axes = [] if node.attributes.get_int("noop_with_empty_axes", 0) else list(range(rank))
    if not axes:
        return x_dot
    shifted = tape.ints(*(axis % rank + 1 for axis in axes))
    keepdims = node.attributes.get_int("keepdims", 1)
    reduced = tape.op(node.op_type, tape.accumulator(x_dot), shifted, keepdims=keepdims)
    return tape.cast(reduced, dtype_of(x_dot))
