"""Derivative rules of softmax and of the normalizations.

With x^ = (x - mean) r and r = 1 / sqrt(var + eps) over the normalized axes,

    x^_dot = r (x_dot - mean(x_dot) - x^ mean(x^ x_dot))

and the scale multiplies it; the shift has no tangent. Where a cut holds the statistics, mean and r, it is r x_dot. An
RMS normalization has no mean, neither of x nor of x_dot.
Sums run in float32 at least.
"""

import math

import onnx_ir as ir

from memscan.export.autodiff.cut import held
from memscan.export.autodiff.rule_table import MissingRule, RuleTable
from memscan.export.autodiff.tape import Tape
from memscan.export.nodes.shapes import Dim, describe, dtype_of, operand, shape_of, static_dims

RULES = RuleTable()

_GROUPED = ("InstanceNormalization", "GroupNormalization")


@RULES.first_operand("Softmax")
def softmax(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """y_dot = y (x_dot - sum(y x_dot))."""
    y = node.outputs[0]
    rank = len(shape_of(y))
    axis = tape.ints(node.attributes.get_int("axis", -1) % rank + 1)
    weighted = tape.op("Mul", tape.accumulator(x_dot), tape.accumulator(y))
    mean = tape.op("ReduceSum", weighted, axis, keepdims=1)
    centred = tape.op("Sub", weighted, tape.op("Mul", mean, tape.accumulator(y)))
    return tape.cast(centred, dtype_of(y))


@RULES.first_operand("LayerNormalization")
def layer_norm(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """Normalized over the axes from `axis` on; the scale has their shape."""
    over = _layer_axes(tape, node)
    centred, r = _statistics(tape, node, operand(node, 0), over)
    turned = _turned(tape, centred, r, x_dot, over)
    return tape.cast(tape.scale(turned, _layer_factor(tape, node, r)), dtype_of(x_dot))


@RULES.first_operand(held("LayerNormalization"))
def held_layer_norm(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """The same with constant statistics."""
    _, r = _statistics(tape, node, operand(node, 0), _layer_axes(tape, node))
    return tape.cast(tape.scale(tape.accumulator(x_dot), _layer_factor(tape, node, r)), dtype_of(x_dot))


@RULES.first_operand("RMSNormalization")
def rms_norm(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """Divided by the root of the mean square over the axes from `axis` on; the scale has their shape."""
    over = _layer_axes(tape, node)
    x, t = tape.accumulator(operand(node, 0)), tape.accumulator(x_dot)
    r = _reciprocal_deviation(tape, node, x, over)
    turned = tape.op("Sub", t, _along(tape, tape.op("Mul", x, r), t, over))
    return tape.cast(tape.scale(turned, _layer_factor(tape, node, r)), dtype_of(x_dot))


@RULES.first_operand(held("RMSNormalization"))
def held_rms_norm(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """The same with a constant root."""
    r = _reciprocal_deviation(tape, node, tape.accumulator(operand(node, 0)), _layer_axes(tape, node))
    return tape.cast(tape.scale(tape.accumulator(x_dot), _layer_factor(tape, node, r)), dtype_of(x_dot))


@RULES.first_operand(*_GROUPED)
def group_norm(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """Normalized over the positions and channels of each group; the scale is per channel."""
    grouped, over = _groups(node), tape.ints(-2, -1)
    centred, r = _statistics(tape, node, tape.reshape(operand(node, 0), *grouped), over)
    turned = _turned(tape, centred, r, tape.reshape(x_dot, tape.num_tangents, *grouped), over)
    factor = _group_factor(tape, node, r)
    return tape.cast(tape.scale(tape.reshape(turned, *shape_of(x_dot)), factor), dtype_of(x_dot))


@RULES.first_operand(*map(held, _GROUPED))
def held_group_norm(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """The same with constant statistics."""
    _, r = _statistics(tape, node, tape.reshape(operand(node, 0), *_groups(node)), tape.ints(-2, -1))
    return tape.cast(tape.scale(tape.accumulator(x_dot), _group_factor(tape, node, r)), dtype_of(x_dot))


def _layer_axes(tape: Tape, node: ir.Node) -> ir.Value:
    if any(output.uses() for output in node.outputs[1:]):
        raise MissingRule(f"no derivative rule for the mean and deviation that {describe(node)} also returns")
    rank = len(shape_of(operand(node, 0)))
    return tape.ints(*range(node.attributes.get_int("axis", -1) % rank - rank, 0))


def _layer_factor(tape: Tape, node: ir.Node, r: ir.Value) -> ir.Value:
    return tape.op("Mul", r, tape.accumulator(operand(node, 1)))


def _groups(node: ir.Node) -> list[Dim]:
    """[N, G, C / G, positions]."""
    x = operand(node, 0)
    channels, *spatial = static_dims(x, 1)
    groups = node.attributes.get_int("num_groups", channels)
    return [shape_of(x)[0], groups, channels // groups, math.prod(spatial)]


def _group_factor(tape: Tape, node: ir.Node, r: ir.Value) -> ir.Value:
    """In the layout of y, so that it can be gathered with the factors of the operators that follow."""
    batch, channels, *spatial = shape_of(operand(node, 0))
    _, groups, members, _ = _groups(node)
    scale = tape.reshape(tape.accumulator(operand(node, 1)), groups, members, 1)
    return tape.reshape(tape.op("Mul", r, scale), batch, channels, *[1] * len(spatial))


def _statistics(tape: Tape, node: ir.Node, x: ir.Value, over: ir.Value) -> tuple[ir.Value, ir.Value]:
    """x - mean, and r."""
    x = tape.accumulator(x)
    centred = tape.op("Sub", x, tape.op("ReduceMean", x, over))
    return centred, _reciprocal_deviation(tape, node, centred, over)


def _reciprocal_deviation(tape: Tape, node: ir.Node, centred: ir.Value, over: ir.Value) -> ir.Value:
    variance = tape.op("ReduceMean", tape.op("Mul", centred, centred), over)
    epsilon = tape.scalar(node.attributes.get_float("epsilon", 1e-5), centred)
    return tape.op("Reciprocal", tape.op("Sqrt", tape.op("Add", variance, epsilon)))


def _turned(tape: Tape, centred: ir.Value, r: ir.Value, x_dot: ir.Value, over: ir.Value) -> ir.Value:
    """x_dot - mean(x_dot) - x^ mean(x^ x_dot)."""
    t, x_hat = tape.accumulator(x_dot), tape.op("Mul", centred, r)
    along = _along(tape, x_hat, t, over)
    return tape.op("Sub", tape.op("Sub", t, tape.op("ReduceMean", t, over)), along)


def _along(tape: Tape, x_hat: ir.Value, t: ir.Value, over: ir.Value) -> ir.Value:
    """x^ mean(x^ x_dot)."""
    return tape.op("Mul", x_hat, tape.op("ReduceMean", tape.op("Mul", t, x_hat), over))
