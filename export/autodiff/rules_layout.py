"""Derivative rules of operators that only move, repeat or leave out elements: all linear, with axes shifted by one."""

import onnx_ir as ir

from memscan.export.autodiff.rule_table import RuleTable, constant_ints, first_tangents
from memscan.export.autodiff.tape import Tape
from memscan.export.nodes.shapes import operand, shape_of, static_dims

RULES = RuleTable()


@RULES.first_operand("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """Any change of shape alone: the tangent takes the primal's new shape behind K."""
    return tape.reshape(x_dot, tape.num_tangents, *shape_of(node.outputs[0]))


@RULES.first_operand("Transpose")
def transpose(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """The permutation, shifted."""
    perm = node.attributes.get_ints("perm", tuple(reversed(range(len(shape_of(x_dot)) - 1))))
    return tape.transpose(x_dot, 0, *(axis + 1 for axis in perm))


@RULES.first_operand("Expand")
def expand(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """The driver broadcasts."""
    return x_dot


@RULES.rule("Concat")
def concat(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """The tangents side by side; here a missing one must be written out as zeros."""
    parts = [tape.zeros(operand(node, index)) if x_dot is None else x_dot for index, x_dot in enumerate(x_dots)]
    return tape.op("Concat", *parts, axis=_axis(node, node.attributes["axis"].as_int()))


@RULES.rule("Split")
def split(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> tuple[ir.Value, ...]:
    """The same parts of the tangent."""
    (x_dot,) = first_tangents(node, x_dots, 1)
    axis = _axis(node, node.attributes.get_int("axis", 0))
    lengths = [static_dims(y, axis - 1)[0] for y in node.outputs]
    return tape.ops("Split", x_dot, tape.ints(*lengths), outputs=len(lengths), axis=axis)


@RULES.first_operand("Slice")
def slice_(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """The same slice of the tangent."""
    starts = operand(node, 1)
    axes = constant_ints(node, 3)
    if axes is None:
        axes = list(range(*static_dims(starts)))
    shifted = tape.ints(*(_axis(node, axis) for axis in axes))
    return tape.op(
        "Slice",
        x_dot,
        starts,
        operand(node, 2),
        shifted,
        *node.inputs[4:5],
        shape=[tape.num_tangents, *shape_of(node.outputs[0])],
    )


@RULES.first_operand("Gather")
def gather(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """The same entries of the tangent."""
    axis = _axis(node, node.attributes.get_int("axis", 0))
    return tape.op("Gather", x_dot, operand(node, 1), axis=axis)


@RULES.first_operand("Pad")
def pad(tape: Tape, node: ir.Node, x_dot: ir.Value) -> ir.Value:
    """The same padding with fill 0: the fill value has no tangent."""
    rank = len(shape_of(x_dot)) - 1
    pads, axes = constant_ints(node, 1) or [], constant_ints(node, 3)
    if axes is None:
        axes = list(range(rank))
    shifted = tape.ints(*(_axis(node, axis) for axis in axes))
    return tape.op(
        "Pad",
        x_dot,
        tape.ints(*pads),
        None,
        shifted,
        mode=node.attributes.get_string("mode", "constant"),
        shape=[tape.num_tangents, *shape_of(node.outputs[0])],
    )


def _axis(node: ir.Node, axis: int) -> int:
    return axis % len(shape_of(operand(node, 0))) + 1
