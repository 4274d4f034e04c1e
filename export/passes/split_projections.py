"""Projections that are split at once become one projection for each part.

A GEGLU projects to twice its width and splits the result. Splitting the weight instead costs nothing (two views of one
torch parameter), where splitting the result is a copy, K-fold once the graph is differentiated.
"""

import onnx_ir as ir

from memscan.export.passes.weight_views import parameter_of, register_view
from memscan.export.shapes import shape_of, static_dims


class SplitProjections(ir.passes.InPlacePass):
    """Replace Split(MatMul(x, w) + b) along the last axis by MatMul(x, w_i) + b_i for each part i.

    Requires: every value has a shape, static but for the batch.
    Ensures: no such Split is left whose w `[C, F]` and b `[F]` are torch-backed initializers and whose product and sum
        have no other use; the parts are views of the parameters, named `<name>.part<i>`. Other nodes are untouched.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        splits = [node for node in model.graph if node.op_type == "Split" and _is_split_projection(node)]
        for split in splits:
            _split_weight(model.graph, split)
        return ir.passes.PassResult(model, modified=bool(splits))


def _is_split_projection(split: ir.Node) -> bool:
    total = _sole_producer(split.inputs[0], "Add")
    product = _sole_producer(total.inputs[0], "MatMul") if total else None
    rank = len(shape_of(split.outputs[0]))
    return (
        total is not None
        and product is not None
        and split.attributes.get_int("axis", 0) % rank == rank - 1
        and parameter_of(product.inputs[1]) is not None
        and parameter_of(total.inputs[1]) is not None
    )


def _sole_producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node of that operator that makes `value` for one other node only."""
    if value is None or len(value.uses()) != 1 or value.is_graph_output():
        return None
    producer = value.producer()
    return producer if producer is not None and producer.op_type == op_type else None


def _split_weight(graph: ir.Graph, split: ir.Node) -> None:
    total = split.inputs[0].producer()
    product = total.inputs[0].producer()
    x, weight, bias = product.inputs[0], product.inputs[1], total.inputs[1]
    start = 0
    for index, part in enumerate(split.outputs):
        (width,) = static_dims(part, -1)
        columns = slice(start, start + width)
        w, b = (
            register_view(graph, f"{whole.name}.part{index}", parameter_of(whole)[..., columns])
            for whole in (weight, bias)
        )
        projected = ir.node("MatMul", [x, w], name=f"{product.name}_part{index}")
        shifted = ir.node("Add", [projected.outputs[0], b], name=f"{total.name}_part{index}")
        projected.outputs[0].name = f"{projected.name}_product"
        for node in (projected, shifted):
            node.outputs[0].shape, node.outputs[0].type = part.shape, part.type
        graph.insert_before(split, [projected, shifted])
        part.replace_all_uses_with(shifted.outputs[0], replace_graph_outputs=True)
        shifted.outputs[0].name, part.name = part.name, None
        start += width
    for node in (split, total, product):
        graph.remove(node, safe=True)
