"""Einsum of one operand that only permutes axes, as a Transpose: how transformers take their patches apart."""

import onnx_ir as ir

from memscan.export.nodes.emitter import Emitter
from memscan.export.nodes.shapes import operand
from memscan.export.passes.lowering import nodes_of


class TransposePermutingEinsum(ir.passes.InPlacePass):
    """Replace each Einsum whose equation permutes the axes of its one operand by a Transpose; leave every other.

    Requires: inputs have shapes and dtypes.
    Ensures: no such Einsum is left; new values have shapes and dtypes.
    """

    def ensures(self, model: ir.Model) -> None:
        if _permuting(model):
            raise ir.passes.PostconditionError("an Einsum that permutes axes is left")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = _permuting(model)
        emitter = Emitter(model.graph)
        for node, perm in found.items():
            y = node.outputs[0]
            with emitter.scope(f"{y.name}_permuted", after=node):
                permuted = emitter.transpose(operand(node, 0), *perm)
            y.replace_all_uses_with(permuted, replace_graph_outputs=True)
            model.graph.remove(node, safe=True)
        return ir.passes.PassResult(model, modified=bool(found))


def _permuting(model: ir.Model) -> dict[ir.Node, list[int]]:
    """The nodes, each with the axis of its operand that becomes each of the output's."""
    found = {}
    for node in nodes_of(model, "Einsum"):
        before, _, after = node.attributes["equation"].as_string().replace(" ", "").partition("->")
        if before.isalpha() and len(set(before)) == len(before) and sorted(before) == sorted(after):
            found[node] = [before.index(letter) for letter in after]
    return found
