"""The graph that looks into a denoiser: what it attends to in the text, and the activation of its bottleneck.

    last_token_attention   [N, 1, h, w]   weights of the last token, mean over heads and layers: of the cross-attention
                                          layers on the way down those at the finest resolution that there is among
                                          them, enlarged bilinearly to the latent's where that is larger
    token_attention        [N, S]         weights of each token, mean over positions, heads and all those layers of
                                          cross-attention that there are
    bottleneck             [N, C, h', w'] what leaves the middle block

It is graph surgery on the traced denoiser, not a second trace: same weight names, so one weights.bin. Places are told
by operators and shapes, never by names: cross-attention has keys that depend on the text and not on the image; the
first skip connection, where the way down ends, is concatenated behind what leaves the middle block. Of a denoiser that
has no such place, there is no such output.
"""

import functools

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from memscan.export.graphs.dependence import dependent, inputs_named
from memscan.export.nodes.emitter import Emitter
from memscan.export.nodes.shapes import operand, shape_of, static_dims
from memscan.export.passes.written_out_attention import attention_weights, weighted_values

_FLOAT = ir.DataType.FLOAT
_HIDDEN, _SKIPPED = 0, 1
"""Operands of a concatenation with a skip connection."""
_TOKENS, _IMAGE = ("encoder_hidden_states",), ("sample",)


def observe_graph(denoiser: ir.Model) -> ir.Model | None:
    """Build the observing graph of a denoiser's.

    Args:
        denoiser: inputs sample [N, C, h, w], timestep, alpha and sigma [N], and encodings of the prompt [N, ...]. It is
            left as it is.

    Returns:
        A model with the denoiser's inputs, and those of the module's outputs that this denoiser has; None if it has
        none of them.
    """
    model = denoiser.clone()
    graph = model.graph
    outputs = {**_attention(graph), **_bottleneck(graph)}
    if not outputs:
        return None
    for name, value in outputs.items():
        value.name, value.dtype = name, _FLOAT
    graph.outputs[:] = list(outputs.values())
    graph.name = "observation"
    RemoveUnusedNodesPass()(model)
    return model


def _attention(graph: ir.Graph) -> dict[str, ir.Value]:
    of_text, of_image = dependent(graph, inputs_named(graph, _TOKENS)), dependent(graph, inputs_named(graph, _IMAGE))
    layers = [
        node
        for node in graph
        if (node.domain, node.op_type) == ("", "Attention")
        and operand(node, 1) in of_text
        and operand(node, 1) not in of_image
    ]
    skip = _first_skip(graph)
    if not layers or skip is None:
        return {}
    beyond = dependent(graph, [operand(skip, _SKIPPED)])
    descending = {node: _positions(node) for node in layers if operand(node, 0) not in beyond}
    emitter = Emitter(graph)
    weights = {node: _written_out(emitter, node) for node in layers}
    with emitter.scope("observed"):
        outputs = {}
        if descending:
            finest = max(descending.values())
            maps = [_of_last_token(emitter, weights[node]) for node in descending if descending[node] == finest]
            outputs["last_token_attention"] = _enlarge(emitter, _mean(emitter, maps), _size(graph, finest))
        of_tokens = [emitter.op("ReduceMean", each, emitter.ints(1, 2), keepdims=0) for each in weights.values()]
        outputs["token_attention"] = _mean(emitter, of_tokens)
    return outputs


def _bottleneck(graph: ir.Graph) -> dict[str, ir.Value]:
    skip = _first_skip(graph)
    if skip is None or operand(skip, _HIDDEN) is operand(skip, _SKIPPED):  # nothing is between the ways down and up
        return {}
    emitter = Emitter(graph)
    with emitter.scope("observed_bottleneck"):
        return {"bottleneck": emitter.op("Identity", emitter.cast(operand(skip, _HIDDEN), _FLOAT))}


def _first_skip(graph: ir.Graph) -> ir.Node | None:
    """The node that joins what leaves the middle block with what was skipped past it."""
    joins = (node for node in graph if node.op_type == "Concat" and len(shape_of(node.outputs[0])) == 4)
    return next((node for node in joins if not _is_input(operand(node, _SKIPPED))), None)


def _is_input(value: ir.Value) -> bool:
    """Whether a value is an input of the graph, be it in another dtype: channels join the latents before anything."""
    producer = value.producer()
    while producer is not None and producer.op_type == "Cast":
        producer = operand(producer, 0).producer()
    return producer is None


def _positions(attention: ir.Node) -> int:
    return static_dims(operand(attention, 0), 1)[1]


def _size(graph: ir.Graph, positions: int) -> tuple[int, int]:
    """(h', w') of the images that have so many positions."""
    for node in graph:
        if node.op_type == "Conv" and len(shape_of(node.outputs[0])) == 4:
            height, width = static_dims(node.outputs[0], 2)
            if height * width == positions:
                return height, width
    raise AssertionError(f"no convolution makes an image of {positions} positions")


def _written_out(emitter: Emitter, node: ir.Node) -> ir.Value:
    """The weights [N, H, M, S] of an attention node, which is replaced by products and a softmax."""
    with emitter.scope(f"{node.outputs[0].name}_observed", after=node):
        weights = attention_weights(emitter, node)
        y = weighted_values(emitter, node, weights)
    node.outputs[0].replace_all_uses_with(y)
    emitter.graph.remove(node, safe=True)
    return weights


def _of_last_token(emitter: Emitter, weights: ir.Value) -> ir.Value:
    """[N, H, M, S] -> [N, M]."""
    last = emitter.op("Gather", weights, emitter.constant(np.array(static_dims(weights, 1)[-1] - 1)), axis=3)
    return emitter.op("ReduceMean", last, emitter.ints(1), keepdims=0)


def _mean(emitter: Emitter, values: list[ir.Value]) -> ir.Value:
    total = functools.reduce(lambda total, value: emitter.op("Add", total, value), values)
    return emitter.op("Mul", total, emitter.scalar(1 / len(values), total))


def _enlarge(emitter: Emitter, tokens: ir.Value, size: tuple[int, int]) -> ir.Value:
    """[N, h' w'] -> [N, 1, h, w]: bilinear interpolation is a product from either side, which every engine has."""
    image = emitter.reshape(tokens, shape_of(tokens)[0], 1, *size)
    latent = next(value for value in emitter.graph.inputs if value.name == "sample")
    (height, width), (rows, columns) = static_dims(latent, 2), size
    if height != rows:
        image = emitter.op("MatMul", _interpolation(emitter, rows, height), image)
    if width != columns:
        image = emitter.op("MatMul", image, _interpolation(emitter, columns, width, transposed=True))
    return image


def _interpolation(emitter: Emitter, few: int, many: int, *, transposed: bool = False) -> ir.Value:
    """The matrix [many, few] of linear interpolation between the centres of pixels, its edges held."""
    centres = np.clip((np.arange(many) + 0.5) * few / many - 0.5, 0, few - 1)
    matrix = np.maximum(1 - abs(centres[:, None] - np.arange(few)), 0).astype(np.float32)
    if transposed:
        matrix = np.ascontiguousarray(matrix.T)
    name = f"interpolation_{few}_{many}" + "_transposed" * transposed
    tensor = ir.tensor(matrix, name=name)
    value = ir.Value(name=name, shape=ir.Shape(matrix.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    emitter.graph.register_initializer(value)
    return value
