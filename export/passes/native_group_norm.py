"""Group normalization by an operator that ONNX Runtime has a kernel for.

Its CPU provider expands GroupNormalization into a dozen elementwise nodes. Over the grouped tensor [N, G, C/G * H * W]
the same statistics are those of InstanceNormalization, which is one kernel; scale and shift per channel follow.
"""

import math

import numpy as np
import onnx_ir as ir

from memscan.export.autodiff.shapes import dtype_of, operand, shape_of, static_dims
from memscan.export.autodiff.tape import Tape
from memscan.export.passes.lowering import lower_each


class NativeGroupNorm(ir.passes.InPlacePass):
    """Replace each GroupNormalization by Reshape, InstanceNormalization, Reshape, Mul and Add.

    Requires: inputs `[N, C, ...]`, static but for N, in float32 or float64.
    Ensures: no GroupNormalization is left; new values have shapes and dtypes.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return lower_each(model, "GroupNormalization", _normalized)


def _normalized(tape: Tape, node: ir.Node) -> ir.Value:
    x, scale, shift = (operand(node, index) for index in range(3))
    batch, (channels, *spatial) = shape_of(x)[0], static_dims(x, 1)
    groups = node.attributes.get_int("num_groups", channels)
    grouped = tape.reshape(x, [batch, groups, channels // groups * math.prod(spatial)])
    ones, zeros = (tape.constant(np.full(groups, value, dtype_of(x).numpy())) for value in (1, 0))
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    normalized = tape.reshape(tape.op("InstanceNormalization", grouped, ones, zeros, epsilon=epsilon), shape_of(x))
    per_channel = [channels] + [1] * len(spatial)
    scaled = tape.op("Mul", normalized, tape.reshape(scale, per_channel))
    return tape.op("Add", scaled, tape.reshape(shift, per_channel))
