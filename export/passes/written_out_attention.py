"""Attention of the primal graph written out as products and a softmax, for engines that refuse the operator.

TensorRT before 10.14 does not know opset 23's Attention, and later ones refuse it for head sizes that their kernels
lack; in ONNX Runtime on the CPU both forms take the same time and give the same bits. Differentiated graphs have no
such node: there attention is a local function.
"""

import math

import onnx_ir as ir

from memscan.export.attention.dot_product import beyond_dot_product, dot_product_scale
from memscan.export.nodes.conditions import Unfit, ensure_none_left
from memscan.export.nodes.emitter import Emitter
from memscan.export.nodes.shapes import describe, dtype_of, operand
from memscan.export.passes.lowering import lower_each, nodes_of


class WriteOutAttention(ir.passes.InPlacePass):
    """Replace each Attention node by softmax(scale q k^T) v; a boolean mask sets scores to minus infinity, and any
    other is added to them, as T5's bias of positions.

    Requires: scaled dot-product attention with known D, with no cache.
    Ensures: no Attention node of the default domain is left; new values have shapes and dtypes.
    """

    def requires(self, model: ir.Model) -> None:
        for node in nodes_of(model, "Attention"):
            if found := beyond_dot_product(node, may_be_masked=True):
                raise Unfit(f"{describe(node)} cannot be written out with {found}: only scaled dot-product attention")

    def ensures(self, model: ir.Model) -> None:
        ensure_none_left(model, "Attention")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return lower_each(model, "Attention", _attention)


def attention_weights(emitter: Emitter, node: ir.Node) -> ir.Value:
    """Emit the weights of an Attention node, softmax(scale q k^T) [N, H, M, S], in float32 at least."""
    q, k = operand(node, 0), operand(node, 1)
    scaled = emitter.op("Mul", q, emitter.scalar(dot_product_scale(node), q))
    scores = emitter.op("MatMul", scaled, emitter.transpose(k, 0, 1, 3, 2))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        mask = node.inputs[3]
        if mask.dtype == ir.DataType.BOOL:
            scores = emitter.op("Where", mask, scores, emitter.scalar(-math.inf, scores))
        else:
            scores = emitter.op("Add", scores, mask)
    return emitter.op("Softmax", emitter.accumulator(scores), axis=-1)


def weighted_values(emitter: Emitter, node: ir.Node, weights: ir.Value) -> ir.Value:
    """Emit the output of an Attention node, of its weights."""
    v = operand(node, 2)
    return emitter.op("MatMul", emitter.cast(weights, dtype_of(v)), v)


def _attention(emitter: Emitter, node: ir.Node) -> ir.Value:
    return weighted_values(emitter, node, attention_weights(emitter, node))
