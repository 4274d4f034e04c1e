"""Derivative rules of operators that only move, repeat or leave out elements: all linear, with axes shifted by K."""

import onnx_ir as ir

from memscan.export.autodiff.rule_table import RuleTable, constant_ints, only_first, tangent
from memscan.export.autodiff.shapes import operand, shape_of, static_dims
from memscan.export.autodiff.tape import Tape

RULES = RuleTable()


@RULES.rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """Any change of shape alone: the tangent takes the primal's new shape behind K."""
    y = node.outputs[0]
    return tape.reshape(only_first(node, x_dots), [tape.num_tangents, *shape_of(y)])


@RULES.rule("Transpose")
def transpose(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """The permutation, shifted."""
    x_dot = tangent(x_dots[0])
    perm = node.attributes.get_ints("perm", tuple(reversed(range(len(shape_of(x_dot)) - 1))))
    return tape.op("Transpose", x_dot, perm=[0, *(axis + 1 for axis in perm)])


@RULES.rule("Expand")
def expand(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """The driver broadcasts."""
    return only_first(node, x_dots)


@RULES.rule("Concat")
def concat(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """The tangents side by side; here a missing one must be written out as zeros."""
    parts = [tape.zeros(operand(node, index)) if x_dot is None else x_dot for index, x_dot in enumerate(x_dots)]
    return tape.op("Concat", *parts, axis=_axis(node, node.attributes["axis"].as_int()))


@RULES.rule("Split")
def split(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> tuple[ir.Value, ...]:
    """The same parts of the tangent."""
    x_dot = only_first(node, x_dots)
    axis = _axis(node, node.attributes.get_int("axis", 0))
    lengths = [static_dims(y, axis - 1)[0] for y in node.outputs]
    return tape.ops("Split", x_dot, tape.ints(*lengths), num_outputs=len(lengths), axis=axis)


@RULES.rule("Slice")
def slice_(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """The same slice of the tangent."""
    x_dot = only_first(node, x_dots)
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


@RULES.rule("Gather")
def gather(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """The same entries of the tangent."""
    axis = _axis(node, node.attributes.get_int("axis", 0))
    return tape.op("Gather", only_first(node, x_dots), operand(node, 1), axis=axis)


@RULES.rule("Pad")
def pad(tape: Tape, node: ir.Node, /, *x_dots: ir.Value | None) -> ir.Value:
    """The same padding with fill 0: the fill value has no tangent."""
    x_dot = only_first(node, x_dots)
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
