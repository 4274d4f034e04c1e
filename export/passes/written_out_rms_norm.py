"""RMS normalization written out: the operator came with opset 23, which not every engine knows.

Between differentiation, which wants it whole, and the file of a graph.
"""

import onnx_ir as ir

from memscan.export.nodes.conditions import ensure_none_left
from memscan.export.nodes.emitter import Emitter
from memscan.export.nodes.shapes import dtype_of, operand, shape_of
from memscan.export.passes.lowering import lower_each


class WriteOutRmsNorm(ir.passes.InPlacePass):
    """Replace each RMSNormalization by x / sqrt(mean(x^2) + epsilon) times its scale, in float32 at least.

    Requires: inputs have shapes and dtypes.
    Ensures: no RMSNormalization is left; new values have shapes and dtypes.
    """

    def ensures(self, model: ir.Model) -> None:
        ensure_none_left(model, "RMSNormalization")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return lower_each(model, "RMSNormalization", _normalized)


def _normalized(emitter: Emitter, node: ir.Node) -> ir.Value:
    x, scale = emitter.accumulator(operand(node, 0)), operand(node, 1)
    rank = len(shape_of(x))
    over = emitter.ints(*range(node.attributes.get_int("axis", -1) % rank - rank, 0))
    square = emitter.op("ReduceMean", emitter.op("Mul", x, x), over)
    epsilon = emitter.scalar(node.attributes.get_float("epsilon", 1e-5), x)
    r = emitter.op("Reciprocal", emitter.op("Sqrt", emitter.op("Add", square, epsilon)))
    y = emitter.op("Mul", emitter.op("Mul", x, r), emitter.accumulator(scale))
    return emitter.cast(y, dtype_of(node.outputs[0]))
