"""Attention with bodies of Scans, the fastest and smallest in ONNX Runtime on the CPU.

Engines without Scans, TensorRT for one, keep the whole bodies that a graph is made with.
"""

from collections.abc import Iterator

import onnx_ir as ir

from memscan.export.attention.dot_product import beyond_dot_product, dot_product_scale
from memscan.export.attention.forward import sliced_forward
from memscan.export.attention.functions import ATTENTION_VALUE_JVP, DOMAIN, INPUTS
from memscan.export.attention.slices import AttentionShape, sliced_attention
from memscan.export.nodes.conditions import Unfit
from memscan.export.nodes.shapes import describe, dtype_of, operand, shape_of, static_dims

MIN_SCORES = 2**22
"""Elements of an image's scores, over all tangents, below which attention stays as it is: slices gain nothing there."""


class SliceAttention(ir.passes.InPlacePass):
    """Give each large attention a function with a sliced body, one for each distinct shape.

    Requires: shapes that are static but for the batch; large attention is scaled dot-product attention, or a call as
        `jvp` emits it.
    Ensures: no attention forms scores of `MIN_SCORES` elements an image or more; nothing else has changed.
    """

    def requires(self, model: ir.Model) -> None:
        for node, shape in _large(model):
            if not shape.tangents and (found := beyond_dot_product(node)):
                raise Unfit(f"{describe(node)} cannot be sliced with {found}: only scaled dot-product attention")

    def ensures(self, model: ir.Model) -> None:
        for node, shape in _large(model):
            raise ir.passes.PostconditionError(f"{describe(node)} forms {shape.scores} scores at once")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        large = list(_large(model))
        for node, shape in large:
            _call(model, node, shape)
        called = {node.op_identifier() for node in model.graph}
        for identifier in [identifier for identifier in model.functions if identifier not in called]:
            del model.functions[identifier]
        return ir.passes.PassResult(model, modified=bool(large))


def unsliced_scores(model: ir.Model) -> int:
    """Elements of the largest K-fold scores of an image that a differentiated graph forms in bodies without slices."""
    return max((shape.scores for _, shape in _unsliced(model) if shape.tangents), default=0)


def _large(model: ir.Model) -> Iterator[tuple[ir.Node, AttentionShape]]:
    return ((node, shape) for node, shape in _unsliced(model) if shape.scores >= MIN_SCORES)


def _unsliced(model: ir.Model) -> Iterator[tuple[ir.Node, AttentionShape]]:
    """Every attention that forms its scores at once, with tangents or without."""
    for node in model.graph:
        with_tangents = node.domain == DOMAIN and node.op_type in INPUTS
        if (with_tangents and not node.overload) or (node.domain, node.op_type) == ("", "Attention"):
            yield node, _shape(node, with_tangents=with_tangents)


def _shape(node: ir.Node, *, with_tangents: bool) -> AttentionShape:
    tangents = shape_of(operand(node, 3))[0] if with_tangents else 0
    heads, queries, size = _static(node, 0)
    _, keys, value_size = _static(node, 2)
    assert isinstance(tangents, int), "the driver made the leading axis K static"
    return AttentionShape(tangents, heads, queries, keys, size, value_size, node.op_type != ATTENTION_VALUE_JVP)


def _static(node: ir.Node, index: int) -> list[int]:
    value = operand(node, index)
    if len(shape_of(value)) != 4 or not all(isinstance(dim, int) for dim in shape_of(value)[1:]):
        raise Unfit(f"{describe(node)} reads {value.name} {value.shape}: expected [N, H, tokens, D], static but for N")
    return static_dims(value, 1)


def _call(model: ir.Model, node: ir.Node, shape: AttentionShape) -> None:
    """Turn the node into a call of the sliced function."""
    dtype = dtype_of(node.outputs[0])
    if shape.tangents:
        function = sliced_attention(node.op_type, shape, dtype)
    else:
        scale = ir.AttrFloat32("scale", dot_product_scale(node))
        node.attributes.clear()
        node.attributes["scale"] = scale
        function = sliced_forward(shape, dtype)
    model.functions.setdefault(function.identifier(), function)
    model.graph.opset_imports[DOMAIN] = 1
    node.domain, node.op_type, node.overload = function.identifier()
