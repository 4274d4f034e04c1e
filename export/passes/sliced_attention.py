"""Attention's local functions with bodies of Scans, the fastest and smallest in ONNX Runtime on the CPU.

Engines without Scans, TensorRT for one, keep the plain bodies that a graph is made with.
"""

import onnx_ir as ir

from memscan.export.attention_functions import DOMAIN, INPUTS
from memscan.export.attention_slices import AttentionShape, sliced_attention
from memscan.export.rule_table import operand
from memscan.export.shapes import dtype_of, shape_of, static_dims

MIN_SCORES = 2**20
"""Elements of an image's K-fold scores below which a call keeps its plain body: they fit in the cache together."""


class SliceAttention(ir.passes.InPlacePass):
    """Give each large call of an attention function an overload with a sliced body, one for each distinct shape.

    Requires: calls as `jvp` emits them, with shapes that are static but for the batch.
    Ensures: no call forms K-fold scores of `MIN_SCORES` elements an image or more; inputs, outputs, nodes and weights
        are untouched.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in model.graph:
            if node.domain != DOMAIN or node.op_type not in INPUTS:
                continue
            shape = _shape(node)
            if shape.scores < MIN_SCORES:
                continue
            function = sliced_attention(node.op_type, shape, dtype_of(node.outputs[0]))
            model.functions.setdefault(function.identifier(), function)
            node.overload = function.overload
            modified = True
        called = {node.op_identifier() for node in model.graph}
        for identifier in [identifier for identifier in model.functions if identifier not in called]:
            del model.functions[identifier]
        return ir.passes.PassResult(model, modified)


def plain_scores(model: ir.Model) -> int:
    """Elements of the largest K-fold scores of an image that a differentiated graph forms in bodies without slices."""
    calls = (node for node in model.graph if node.domain == DOMAIN and node.op_type in INPUTS and not node.overload)
    return max((_shape(node).scores for node in calls), default=0)


def _shape(node: ir.Node) -> AttentionShape:
    heads, queries, size = static_dims(operand(node, 0), 1)
    _, keys, value_size = static_dims(operand(node, 2), 1)
    tangents = shape_of(operand(node, 3))[0]
    assert isinstance(tangents, int), "the driver made the leading axis K static"
    return AttentionShape(tangents, heads, queries, keys, size, value_size)
