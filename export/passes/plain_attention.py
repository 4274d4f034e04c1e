"""Attention of the primal graph as products and a softmax, for engines that refuse the operator.

TensorRT before 10.14 does not know opset 23's Attention, and later ones refuse it for head sizes that their kernels
lack; in ONNX Runtime on the CPU both forms take the same time and give the same bits. Differentiated graphs have no
such node: there attention is a local function.
"""

import math

import onnx_ir as ir

from memscan.export.autodiff.rules_attention import plain_scale
from memscan.export.autodiff.shapes import dtype_of, operand
from memscan.export.autodiff.tape import Tape
from memscan.export.passes.lowering import lower_each


class PlainAttention(ir.passes.InPlacePass):
    """Replace each Attention node by softmax(scale q k^T) v; a boolean mask sets scores to minus infinity.

    Requires: inputs `[N, H, tokens, D]` with known D, no mask but a boolean one.
    Ensures: no Attention node of the default domain is left; new values have shapes and dtypes.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return lower_each(model, "Attention", _attention)


def _attention(tape: Tape, node: ir.Node) -> ir.Value:
    scale = plain_scale(node, may_be_masked=True)
    q, k, v = (operand(node, index) for index in range(3))
    scores = tape.op("MatMul", tape.op("Mul", q, tape.scalar(scale, q)), tape.op("Transpose", k, perm=[0, 1, 3, 2]))
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        scores = tape.op("Where", node.inputs[3], scores, tape.scalar(-math.inf, scores))
    p = tape.op("Softmax", tape.accumulator(scores), axis=-1)
    return tape.op("MatMul", tape.cast(p, dtype_of(v)), v)
