"""Derivative rules of softmax and of the normalizations.

With x^ = (x - mean) r and r = 1 / sqrt(var + eps) over the normalized axes,

    x^_dot = r (x_dot - mean(x_dot) - x^ mean(x^ x_dot))

and the scale multiplies it; the shift has no tangent. Sums run in float32 at least.
"""

import math
from collections.abc import Iterable

import onnx_ir as ir

from memscan.export.autodiff.rule_table import MissingRule, RuleTable
from memscan.export.autodiff.tape import Tape
from memscan.export.nodes.shapes import describe, dtype_of, operand, shape_of, static_dims

RULES = RuleTable()


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
    x = operand(node, 0)
    if any(output.uses() for output in node.outputs[1:]):
        raise MissingRule(f"no derivative rule for the mean and deviation that {describe(node)} also returns")
    rank = len(shape_of(x))
    first = node.attributes.get_int("axis", -1) % rank
    centred, r = _normalized(tape, node, x, x_dot, axes=range(first - rank, 0))
    factor = tape.op("Mul", r, tape.accumulator(operand(node, 1)))
    return tape.cast(tape.scale(centred, factor), dtype_of(x_dot))


@RULES.first_operand("InstanceNormalization", "GroupNormalization")
def group_norm(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """Normalized over the positions and channels of each group; the scale is per channel."""
    x = operand(node, 0)
    batch, (channels, *spatial) = shape_of(x)[0], static_dims(x, 1)
    groups = node.attributes.get_int("num_groups", channels)
    grouped = [batch, groups, channels // groups, math.prod(spatial)]
    x_grouped, x_dot_grouped = tape.reshape(x, *grouped), tape.reshape(x_dot, tape.num_tangents, *grouped)
    centred, r = _normalized(tape, node, x_grouped, x_dot_grouped, axes=(-2, -1))
    scale = tape.reshape(tape.accumulator(operand(node, 1)), groups, channels // groups, 1)
    # Applied in the layout of y, so that it can be gathered with the factors of the operators that follow.
    factor = tape.reshape(tape.op("Mul", r, scale), batch, channels, *[1] * len(spatial))
    return tape.cast(tape.scale(tape.reshape(centred, *shape_of(x_dot)), factor), dtype_of(x_dot))


def _normalized(
    tape: Tape, node: ir.Node, x: ir.Value, x_dot: ir.Value, *, axes: Iterable[int]
) -> tuple[ir.Value, ir.Value]:
    over = tape.ints(*axes)
    x, t = tape.accumulator(x), tape.accumulator(x_dot)
    centred = tape.op("Sub", x, tape.op("ReduceMean", x, over))
    variance = tape.op("ReduceMean", tape.op("Mul", centred, centred), over)
    epsilon = tape.scalar(node.attributes.get_float("epsilon", 1e-5), x)
    r = tape.op("Reciprocal", tape.op("Sqrt", tape.op("Add", variance, epsilon)))
    x_hat = tape.op("Mul", centred, r)
    along = tape.op("Mul", x_hat, tape.op("ReduceMean", tape.op("Mul", t, x_hat), over))
    return tape.op("Sub", tape.op("Sub", t, tape.op("ReduceMean", t, over)), along), r
