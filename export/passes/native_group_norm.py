"""Group normalization by an operator that ONNX Runtime has a kernel for.

Its CPU provider expands GroupNormalization into a dozen elementwise nodes. Over the grouped tensor [N, G, C/G * H * W]
the same statistics are those of InstanceNormalization, which is one kernel; scale and shift per channel follow.
"""

import math

import numpy as np
import onnx_ir as ir

from memscan.export.nodes.conditions import Unfit, ensure_none_left
from memscan.export.nodes.emitter import Emitter
from memscan.export.nodes.shapes import describe, dtype_of, operand, shape_of, static_dims
from memscan.export.passes.lowering import lower_each, nodes_of

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


class NativeGroupNorm(ir.passes.InPlacePass):
    """Replace each GroupNormalization by Reshape, InstanceNormalization, Reshape, Mul and Add.

    Requires: inputs `[N, C, ...]`, static but for N, in float32 or float64.
    Ensures: no GroupNormalization is left; new values have shapes and dtypes.
    """

    def requires(self, model: ir.Model) -> None:
        for node in nodes_of(model, "GroupNormalization"):
            x = operand(node, 0)
            if x.dtype not in _FLOATS or len(shape_of(x)) < 2 or not all(isinstance(d, int) for d in shape_of(x)[1:]):
                raise Unfit(
                    f"{describe(node)} normalizes {x.name} {x.dtype}{x.shape}: expected float32 or float64 "
                    "[N, C, ...], static but for N"
                )

    def ensures(self, model: ir.Model) -> None:
        ensure_none_left(model, "GroupNormalization")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return lower_each(model, "GroupNormalization", _normalized)


def _normalized(emitter: Emitter, node: ir.Node) -> ir.Value:
    x, scale, shift = (operand(node, index) for index in range(3))
    batch, (channels, *spatial) = shape_of(x)[0], static_dims(x, 1)
    groups = node.attributes.get_int("num_groups", channels)
    grouped = emitter.reshape(x, batch, groups, channels // groups * math.prod(spatial))
    ones, zeros = (emitter.constant(np.full(groups, value, dtype_of(x).numpy())) for value in (1, 0))
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    instances = emitter.op("InstanceNormalization", grouped, ones, zeros, epsilon=epsilon)
    normalized = emitter.reshape(instances, *shape_of(x))
    per_channel = [channels] + [1] * len(spatial)
    scaled = emitter.op("Mul", normalized, emitter.reshape(scale, *per_channel))
    return emitter.op("Add", scaled, emitter.reshape(shift, *per_channel))
