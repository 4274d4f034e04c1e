"""Convolutions of tangents that are zero in some channels convolve the others alone.

Where a cut leaves a skip connection its tangent and what it is joined with none, differentiation writes
Concat(0, x_dot). Factors without K keep the zeros, and a convolution of them is one with a slice of its weight:

    Conv(f * Concat(0, x_dot), w) = Conv(f[channels] * x_dot, w[:, channels])
"""

import dataclasses

import onnx_ir as ir

from memscan.export.nodes.emitter import Emitter
from memscan.export.nodes.shapes import describe, dtype_of, operand, shape_of, static_dims
from memscan.export.passes.lowering import nodes_of

_CHANNELS = 2
"""Axis of the channels of a tangent, [K, N, C, ...]."""
_FILLING = ("Cast", "Expand", "Identity", "Unsqueeze")


class SkipZeroChannels(ir.passes.InPlacePass):
    """Let no convolution read channels of a tangent that are known to be zero, before or behind all others.

    Followed back from the convolution are the Reshape that folds K into the batch, Cast, and Mul by a factor, to a
    Concat of which an outer part is a zero that was broadcast.

    Requires: values have shapes and dtypes, as differentiation leaves them.
    Ensures: no such convolution is left; new values have shapes and dtypes. What nothing reads any more stays.
    """

    def ensures(self, model: ir.Model) -> None:
        for node, _ in _convolutions_of_zeros(model):
            raise ir.passes.PostconditionError(f"{describe(node)} convolves zeros")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        emitter = Emitter(model.graph)
        found = _convolutions_of_zeros(model)
        for node, (first, *others) in found:
            with emitter.scope(f"{node.outputs[0].name}_narrow", before=node):
                x, channels = _moving_part(emitter, first.node)
                for step in others:
                    x = _repeated(emitter, step, x, channels)
                weight = _sliced(emitter, operand(node, 1), 1, channels)
            node.replace_input_with(0, x)
            node.replace_input_with(1, weight)
        return ir.passes.PassResult(model, modified=bool(found))


@dataclasses.dataclass(frozen=True)
class _Step:
    """A node on the way from a Concat to a convolution, and which of its inputs lies on it."""

    node: ir.Node
    index: int


def _convolutions_of_zeros(model: ir.Model) -> list[tuple[ir.Node, list[_Step]]]:
    """With the ways to them, Concat first."""
    ways = [(node, _way_to(operand(node, 0))) for node in nodes_of(model, "Conv")]
    return [(node, way) for node, way in ways if way and node.attributes.get_int("group", 1) == 1]


def _way_to(x: ir.Value) -> list[_Step] | None:
    node = x.producer()
    if node is None or node.domain:
        return None
    if node.op_type == "Concat":
        axis = node.attributes["axis"].as_int() % len(shape_of(x))
        return [_Step(node, 0)] if axis == _CHANNELS and _outer_zeros(node) != (0, 0) else None
    folds = node.op_type == "Reshape" and shape_of(operand(node, 0))[_CHANNELS:] == shape_of(x)[_CHANNELS - 1 :]
    branches = {"Cast": [0], "Mul": [0, 1], "Reshape": [0] if folds else []}
    for index in branches.get(node.op_type, []):
        way = _way_to(operand(node, index))
        if way is not None:
            return [*way, _Step(node, index)]
    return None


def _outer_zeros(concat: ir.Node) -> tuple[int, int]:
    """How many parts are zero before the first that is not, and behind the last."""
    moving = [index for index, part in enumerate(concat.inputs) if part is not None and not _is_zero(part)]
    return (moving[0], len(concat.inputs) - 1 - moving[-1]) if moving else (0, 0)


def _is_zero(value: ir.Value) -> bool:
    node = value.producer()
    if node is not None:
        return not node.domain and node.op_type in _FILLING and _is_zero(operand(node, 0))
    constant = value.const_value
    return constant is not None and constant.size == 1 and not constant.numpy().any()


def _moving_part(emitter: Emitter, concat: ir.Node) -> tuple[ir.Value, tuple[int, int]]:
    """What is left of a Concat without its outer zeros, and the first and last + 1 of its channels."""
    before, behind = _outer_zeros(concat)
    widths = [static_dims(operand(concat, index), _CHANNELS)[0] for index in range(len(concat.inputs))]
    start, end = sum(widths[:before]), sum(widths) - sum(widths[len(widths) - behind :])
    parts = concat.inputs[before : len(widths) - behind]
    x = operand(concat, before) if len(parts) == 1 else emitter.op("Concat", *parts, axis=_CHANNELS)
    return x, (start, end)


def _repeated(emitter: Emitter, step: _Step, x: ir.Value, channels: tuple[int, int]) -> ir.Value:
    """What the node makes of the channels `x`."""
    node, y = step.node, step.node.outputs[0]
    if node.op_type == "Cast":
        return emitter.cast(x, dtype_of(y))
    if node.op_type == "Reshape":
        batch, _, *spatial = shape_of(y)
        return emitter.reshape(x, batch, channels[1] - channels[0], *spatial)
    factor = operand(node, 1 - step.index)
    axis = _CHANNELS - (len(shape_of(y)) - len(shape_of(factor)))
    return emitter.op("Mul", x, _sliced(emitter, factor, axis, channels))


def _sliced(emitter: Emitter, x: ir.Value, axis: int, channels: tuple[int, int]) -> ir.Value:
    """The channels of `x` along `axis`; `x` itself where it is broadcast along it."""
    if axis < 0 or shape_of(x)[axis] == 1:
        return x
    start, end = channels
    dims = list(shape_of(x))
    dims[axis] = end - start
    return emitter.op("Slice", x, emitter.ints(start), emitter.ints(end), emitter.ints(axis), shape=dims)
