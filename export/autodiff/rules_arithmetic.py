"""Derivative rules of elementwise arithmetic, elementwise functions, sums and means."""

import math

import onnx_ir as ir

from memscan.export.autodiff.rule_table import MissingRule, RuleTable, constant_ints, only_first, tangent
from memscan.export.autodiff.shapes import describe, dtype_of, operand, shape_of
from memscan.export.autodiff.tape import Tape

RULES = RuleTable()

RULES.zero(
    "Shape", "Size", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Sign", "Floor", "Ceil", "Round"
)

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


@RULES.rule("Gelu")
def gelu(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """gelu(x) = x Phi(x), so gelu'(x) = Phi(x) + x phi(x) with the standard normal's Phi and phi."""
    if node.attributes.get_string("approximate", "none") != "none":
        raise MissingRule(f"no derivative rule for {describe(node)} in its tanh approximation")
    x = operand(node, 0)
    erf = tape.op("Erf", tape.op("Mul", x, tape.scalar(math.sqrt(0.5), x)))
    cdf = tape.op("Mul", tape.op("Add", erf, tape.scalar(1, x)), tape.scalar(0.5, x))
    pdf = _gaussian(tape, x, 1 / math.sqrt(2 * math.pi), -0.5)
    return tape.scale(tangent(x_dots[0]), tape.op("Add", cdf, tape.op("Mul", x, pdf)))


@RULES.rule("Neg", "Identity")
def same_operator(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """Linear and elementwise: the operator itself, applied to the tangent."""
    return tape.op(node.op_type, tangent(x_dots[0]))


@RULES.rule("Cast")
def cast(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value | None:
    """A cast between floating-point types; a cast to integers has no tangent."""
    dtype = ir.DataType(node.attributes["to"].as_int())
    return tape.cast(tangent(x_dots[0]), dtype) if dtype.is_floating_point() else None


@RULES.rule("Add", "Sub")
def add(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """(a +- b)_dot = a_dot +- b_dot; where one is zero nothing is computed for `a`, and a sign for `b`."""
    a_dot, b_dot = _aligned(tape, node, x_dots)
    if b_dot is None:
        return tangent(a_dot)
    if a_dot is None:
        return b_dot if node.op_type == "Add" else tape.op("Neg", b_dot)
    return tape.add(a_dot, b_dot) if node.op_type == "Add" else tape.op("Sub", a_dot, b_dot)


@RULES.rule("Mul")
def mul(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """(a b)_dot = a_dot b + a b_dot."""
    a_dot, b_dot = _aligned(tape, node, x_dots)
    terms = []
    if a_dot is not None:
        terms.append(tape.scale(a_dot, operand(node, 1)))
    if b_dot is not None:
        terms.append(tape.scale(b_dot, operand(node, 0)))
    return tape.add(*terms)


@RULES.rule("Div")
def div(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """(a / b)_dot = (a_dot - y b_dot) / b with y = a / b."""
    a_dot, b_dot = _aligned(tape, node, x_dots)
    inverse = tape.op("Reciprocal", operand(node, 1))
    terms = []
    if a_dot is not None:
        terms.append(tape.scale(a_dot, inverse))
    if b_dot is not None:
        slope = tape.op("Neg", tape.op("Mul", node.outputs[0], inverse))
        terms.append(tape.scale(b_dot, slope))
    return tape.add(*terms)


@RULES.rule("Pow")
def power(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """(a^p)_dot = p a^(p-1) a_dot + log(a) y p_dot, the second for a > 0 only."""
    a, p = operand(node, 0), operand(node, 1)
    a_dot, p_dot = _aligned(tape, node, x_dots)
    terms = []
    if a_dot is not None:
        reduced = tape.op("Pow", a, tape.op("Sub", p, tape.scalar(1, p)))
        terms.append(tape.scale(a_dot, tape.op("Mul", tape.cast(p, dtype_of(reduced)), reduced)))
    if p_dot is not None:
        terms.append(tape.scale(p_dot, tape.op("Mul", tape.op("Log", a), node.outputs[0])))
    return tape.add(*terms)


@RULES.rule("Where")
def where(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """Each branch's tangent where that branch is taken; a branch without one is a scalar zero."""
    _, a_dot, b_dot = _aligned(tape, node, x_dots)
    zero = tape.scalar(0, node.outputs[0])
    return tape.op("Where", operand(node, 0), zero if a_dot is None else a_dot, zero if b_dot is None else b_dot)


@RULES.rule("ReduceSum", "ReduceMean")
def reduce(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """The same sum or mean of the tangent, accumulated in float32 at least."""
    x_dot = only_first(node, x_dots)
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


def _aligned(tape: Tape, node: ir.Node, x_dots: tuple[ir.Value | None, ...]) -> tuple[ir.Value | None, ...]:
    rank = len(shape_of(node.outputs[0]))
    return tuple(None if x_dot is None else tape.align(x_dot, rank) for x_dot in x_dots)
