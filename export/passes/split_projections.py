"""Projections that are split at once become one projection for each part.

A GEGLU projects to twice its width and splits the result. Splitting the weight instead costs nothing (two views of one
torch parameter), where splitting the result is a copy, K-fold once the graph is differentiated.
"""

import dataclasses

import onnx_ir as ir
import torch

from memscan.export.nodes.conditions import require_shapes
from memscan.export.nodes.emitter import Emitter
from memscan.export.nodes.shapes import describe, operand, shape_of, static_dims
from memscan.export.passes.weight_views import parameter_of, register_view


class SplitProjections(ir.passes.InPlacePass):
    """Replace Split(MatMul(x, w) + b) along the last axis by MatMul(x, w_i) + b_i for each part i.

    Requires: every value has a shape, static but for the batch.
    Ensures: no such Split is left whose w `[C, F]` and b `[F]` are torch-backed initializers and whose product and sum
        have no other use; the parts are views of the parameters, named `<name>.part<i>`, in whose place the graph holds
        them. Other nodes are untouched.
    """

    def requires(self, model: ir.Model) -> None:
        require_shapes(model)

    def ensures(self, model: ir.Model) -> None:
        for projection in _projections(model):
            raise ir.passes.PostconditionError(f"{describe(projection.split)} still splits a projection")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        projections = _projections(model)
        for projection in projections:
            _split_weight(model.graph, projection)
        return ir.passes.PassResult(model, modified=bool(projections))


@dataclasses.dataclass(frozen=True)
class _Projection:
    """The three nodes, and the tensors behind w and b."""

    product: ir.Node
    total: ir.Node
    split: ir.Node
    weight: torch.Tensor
    bias: torch.Tensor


def _projections(model: ir.Model) -> list[_Projection]:
    found = [_match(node) for node in model.graph if node.op_type == "Split"]
    return [projection for projection in found if projection is not None]


def _match(split: ir.Node) -> _Projection | None:
    total = _sole_producer(operand(split, 0), "Add")
    product = _sole_producer(operand(total, 0), "MatMul") if total else None
    rank = len(shape_of(split.outputs[0]))
    if total is None or product is None or split.attributes.get_int("axis", 0) % rank != rank - 1:
        return None
    weight, bias = parameter_of(product.inputs[1]), parameter_of(total.inputs[1])
    return None if weight is None or bias is None else _Projection(product, total, split, weight, bias)


def _sole_producer(value: ir.Value, op_type: str) -> ir.Node | None:
    """The node of that operator that makes `value` for one other node only."""
    producer = value.producer()
    if producer is None or producer.op_type != op_type or len(value.uses()) != 1 or value.is_graph_output():
        return None
    return producer


def _split_weight(graph: ir.Graph, found: _Projection) -> None:
    x, weight, bias = operand(found.product, 0), operand(found.product, 1), operand(found.total, 1)
    emitter, start = Emitter(graph), 0
    for index, part in enumerate(found.split.outputs):
        (width,) = static_dims(part, -1)
        columns = slice(start, start + width)
        w = register_view(graph, f"{weight.name}.part{index}", found.weight[:, columns])
        b = register_view(graph, f"{bias.name}.part{index}", found.bias[columns])
        with emitter.scope(f"{part.name}_projected", before=found.split):
            total = emitter.op("Add", emitter.op("MatMul", x, w), b)
        part.replace_all_uses_with(total, replace_graph_outputs=True)
        total.name = part.name
        start += width
    for node in (found.split, found.total, found.product):
        graph.remove(node, safe=True)
    for whole in (weight, bias):
        if not whole.uses():
            del graph.initializers[str(whole.name)]
