"""What the lowering passes share: every node of one operator is replaced by nodes that give the same value,
under the same name where it is an output of the graph."""

from collections.abc import Callable

import onnx_ir as ir

from memscan.export.nodes.emitter import Emitter


def lower_each(model: ir.Model, op_type: str, lower: Callable[[Emitter, ir.Node], ir.Value]) -> ir.passes.PassResult:
    """Replace, in place, the nodes of an operator of the default domain that has one output.

    Args:
        lower: emits the replacement of a node and returns its value.
    """
    nodes = nodes_of(model, op_type)
    emitter = Emitter(model.graph)
    for node in nodes:
        with emitter.scope(f"{node.outputs[0].name}_lowered", after=node):
            y = lower(emitter, node)
        replaced = node.outputs[0]
        if replaced.is_graph_output():
            replaced.name, y.name = f"{replaced.name}_replaced", replaced.name
        replaced.replace_all_uses_with(y, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
    return ir.passes.PassResult(model, modified=bool(nodes))


def nodes_of(model: ir.Model, op_type: str) -> list[ir.Node]:
    """The nodes of an operator of the default domain."""
    return [node for node in model.graph if (node.domain, node.op_type) == ("", op_type)]
