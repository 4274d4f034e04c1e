"""Forward-mode differentiation of an ONNX graph: y_dot = (dy/dx) x_dot for K tangents at once.

The driver walks the nodes in order and keeps the tangent of every value that has one, on a leading axis K; a missing
key is a symbolic zero, and a node without tangents is left alone. What an operator does to tangents is said in `rules`;
what holds for all of them is done here: broadcasting to `(K, *y.shape)`, and checking shape and dtype.
"""

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from memscan.export.autodiff.rule_table import MissingRule, Rule, operator_of
from memscan.export.autodiff.rules import RULES, import_functions
from memscan.export.autodiff.tape import Tape
from memscan.export.nodes.conditions import require_shapes
from memscan.export.nodes.shapes import describe, shape_of
from memscan.scanner.errors import ExportError


def jvp(model: ir.Model, wrt: Sequence[str] = ("sample",), of: str = "eps", *, num_tangents: int) -> ir.Model:
    """Add the directional derivatives of output `of` with respect to the inputs `wrt` to a copy of `model`.

    Args:
        model: values have shapes, static but for the leading dimension. It is not modified; weights are shared.
        wrt: names of floating-point inputs.
        of: name of an output.
        num_tangents: K, the number of directions.

    Returns:
        The model with an input `<x>_dot`, `[K, *x.shape]`, for each input x of `wrt`, and an output `<of>_dot`,
        `[K, *of.shape]`.

    Raises:
        MissingRule: an operator on the way has no rule.
        ExportError: no such input or output, or a value without shape.
    """
    require_shapes(model)
    model = model.clone()
    graph = model.graph
    y = _named(graph.outputs, of, "output")
    tangents = {}
    for x in [_named(graph.inputs, name, "input") for name in wrt]:
        tangents[x] = ir.Value(name=f"{x.name}_dot", shape=ir.Shape([num_tangents, *shape_of(x)]), type=x.type)
    graph.inputs.extend(tangents.values())
    tape = Tape(graph, num_tangents)
    for node in tuple(graph):
        x_dots = tuple(tangents.get(value) if value is not None else None for value in node.inputs)
        if any(x_dot is not None for x_dot in x_dots):
            _differentiate(tape, node, x_dots, tangents)
    graph.outputs.append(_output_tangent(tape, tape.superseded.get(y, y), tangents))
    graph.outputs[-1].name = f"{of}_dot"
    import_functions(model)
    RemoveUnusedNodesPass()(model)
    return model


def _differentiate(
    tape: Tape, node: ir.Node, x_dots: tuple[ir.Value | None, ...], tangents: dict[ir.Value, ir.Value]
) -> None:
    with tape.scope(f"{node.outputs[0].name}_dot", after=node) as emitted:
        y_dots = _rule_for(node, x_dots)(tape, node, *x_dots)
        y_dots = y_dots if isinstance(y_dots, tuple) else (y_dots,)
        for y, y_dot in zip(node.outputs, y_dots, strict=False):  # further outputs have no tangent
            if y_dot is not None:
                tangents[tape.superseded.get(y, y)] = _checked(tape.like(y_dot, y), node, y, tape.num_tangents)
    for y in node.outputs:
        y_dot = tangents.get(tape.superseded.get(y, y))
        if y_dot is not None and y_dot.producer() in emitted:
            y_dot.name = f"{y.name}_dot"
    if any(y in tape.superseded for y in node.outputs):
        _replace(tape, node)


def _replace(tape: Tape, node: ir.Node) -> None:
    for y in node.outputs:
        if y in tape.superseded:
            y.replace_all_uses_with(tape.superseded[y], replace_graph_outputs=True)
            tape.superseded[y].name = y.name
    tape.graph.remove(node, safe=True)


def _output_tangent(tape: Tape, y: ir.Value, tangents: dict[ir.Value, ir.Value]) -> ir.Value:
    y_dot = tangents.get(y)
    with tape.scope(f"{y.name}_dot/output"):
        if y_dot is None:
            return tape.zeros(y)
        return tape.op("Identity", y_dot) if y_dot.is_graph_input() else y_dot


def _rule_for(node: ir.Node, x_dots: tuple[ir.Value | None, ...]) -> Rule:
    rule = RULES.get(operator_of(node))
    if rule is not None:
        return rule
    carriers = [
        value.name for value, x_dot in zip(node.inputs, x_dots, strict=True) if value is not None and x_dot is not None
    ]
    raise MissingRule(f"no derivative rule for {describe(node)}; the tangent arrives in its input {carriers[0]!r}")


def _checked(y_dot: ir.Value, node: ir.Node, y: ir.Value, num_tangents: int) -> ir.Value:
    expected = (num_tangents, *shape_of(y))
    if shape_of(y_dot) != expected or y_dot.dtype != y.dtype:
        raise ExportError(
            f"the rule for {describe(node)} gave a tangent {y_dot.dtype}{list(shape_of(y_dot))} "
            f"of {y.name}, expected {y.dtype}{list(expected)}"
        )
    return y_dot


def _named(values: Sequence[ir.Value], name: str, kind: str) -> ir.Value:
    for value in values:
        if value.name == name:
            return value
    raise ExportError(f"the graph has no {kind} {name!r}: it has {', '.join(str(value.name) for value in values)}")
