"""Attention with bodies of Scans, the fastest and smallest in ONNX Runtime on the CPU.

Engines without Scans, TensorRT for one, keep the plain bodies that a graph is made with.
"""

import onnx_ir as ir

from memscan.export.attention.forward import sliced_forward
from memscan.export.attention.functions import DOMAIN, INPUTS
from memscan.export.attention.slices import AttentionShape, sliced_attention
from memscan.export.autodiff.rules_attention import plain_scale
from memscan.export.autodiff.shapes import dtype_of, operand, shape_of, static_dims

MIN_SCORES = 2**22
"""Elements of an image's scores, over all tangents, below which attention stays as it is: slices gain nothing there."""


class SliceAttention(ir.passes.InPlacePass):
    """Give each large attention a function with a sliced body, one for each distinct shape.

    Requires: shapes that are static but for the batch; attention is plain (`rules_attention.plain_scale`), or a call as
        `jvp` emits it.
    Ensures: no attention forms scores of `MIN_SCORES` elements an image or more; nothing else has changed.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in model.graph:
            with_tangents = node.domain == DOMAIN and node.op_type in INPUTS
            if not with_tangents and (node.domain, node.op_type) != ("", "Attention"):
                continue
            shape = _shape(node, with_tangents=with_tangents)
            if shape.scores >= MIN_SCORES:
                _call(model, node, shape)
                modified = True
        called = {node.op_identifier() for node in model.graph}
        for identifier in [identifier for identifier in model.functions if identifier not in called]:
            del model.functions[identifier]
        return ir.passes.PassResult(model, modified)


def plain_scores(model: ir.Model) -> int:
    """Elements of the largest K-fold scores of an image that a differentiated graph forms in bodies without slices."""
    calls = (node for node in model.graph if node.domain == DOMAIN and node.op_type in INPUTS and not node.overload)
    return max((_shape(node, with_tangents=True).scores for node in calls), default=0)


def _shape(node: ir.Node, *, with_tangents: bool) -> AttentionShape:
    heads, queries, size = static_dims(operand(node, 0), 1)
    _, keys, value_size = static_dims(operand(node, 2), 1)
    tangents = shape_of(operand(node, 3))[0] if with_tangents else 0
    assert isinstance(tangents, int), "the driver made the leading axis K static"
    return AttentionShape(tangents, heads, queries, keys, size, value_size)


def _call(model: ir.Model, node: ir.Node, shape: AttentionShape) -> None:
    """Turn the node into a call of the sliced function."""
    dtype = dtype_of(node.outputs[0])
    if shape.tangents:
        function = sliced_attention(node.op_type, shape, dtype)
    else:
        scale = ir.AttrFloat32("scale", plain_scale(node))
        node.attributes.clear()
        node.attributes["scale"] = scale
        function = sliced_forward(shape, dtype)
    model.functions.setdefault(function.identifier(), function)
    model.graph.opset_imports[DOMAIN] = 1
    node.domain, node.op_type, node.overload = function.identifier()
