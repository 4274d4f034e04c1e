"""What the lowering passes share: every node of one operator is replaced by nodes that give the same value."""

from collections.abc import Callable

import onnx_ir as ir

from memscan.export.autodiff.tape import Tape


def lower_each(model: ir.Model, op_type: str, lower: Callable[[Tape, ir.Node], ir.Value]) -> ir.passes.PassResult:
    """Replace, in place, the nodes of an operator of the default domain that has one output.

    Args:
        lower: emits the replacement of a node on the tape and returns its value.
    """
    nodes = [node for node in model.graph if node.domain == "" and node.op_type == op_type]
    tape = Tape(model.graph, num_tangents=0)
    for node in nodes:
        tape.begin(f"{node.outputs[0].name}_lowered")
        y = lower(tape, node)
        model.graph.insert_after(node, tape.end())
        node.outputs[0].replace_all_uses_with(y, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
    return ir.passes.PassResult(model, modified=bool(nodes))
