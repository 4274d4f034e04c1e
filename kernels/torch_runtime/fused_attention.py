"""Attention written out as products and a softmax becomes one node again, for torch's fused kernels.

The step graph has softmax(scale q k^T) v in plain operators, which every engine knows; torch's own attention never
holds the matrix of scores, whose traffic is what the plain form spends its time on at thousands of tokens.
"""

import dataclasses
from collections import Counter

from memscan.kernels.torch_runtime.graph_file import GraphFile
from memscan.kernels.torch_runtime.node import Node


def fuse_attention(graph: GraphFile) -> GraphFile:
    """The graph with each softmax(scale q k^T) v as one Attention node.

    Found where the product's left operand is `q` times a constant, its right one `k` with its last two of four axes
    exchanged, the softmax is along the last axis, perhaps between conversions to and from another dtype, and nothing
    else reads what lies between.
    """
    producers = {output: node for node in graph.nodes for output in node.outputs}
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(graph.outputs)
    fused: dict[str, Node] = {}
    for node in graph.nodes:
        if node.operator == "MatMul":
            chain = _Chain(graph, producers, readers)
            attention = chain.match(node)
            if attention is not None:
                fused[node.outputs[0]] = attention
    nodes = [fused.get(node.outputs[0], node) for node in graph.nodes]
    return dataclasses.replace(graph, nodes=nodes)


class _Chain:
    """Follows values back to the nodes that make them, as long as nothing else reads them."""

    def __init__(self, graph: GraphFile, producers: dict[str, Node], readers: Counter[str]) -> None:
        self._initializers = graph.initializers
        self._producers = producers
        self._readers = readers

    def match(self, product: Node) -> Node | None:
        probabilities, v = product.inputs
        softmax = self._maker(self._before_casts(probabilities), "Softmax")
        if softmax is None or softmax.attributes.get("axis", -1) != -1:
            return None
        scores = self._maker(self._before_casts(softmax.inputs[0]), "MatMul")
        if scores is None:
            return None
        scaled, transposed = (
            self._maker(name, kind) for name, kind in zip(scores.inputs, ("Mul", "Transpose"), strict=True)
        )
        if scaled is None or transposed is None or list(transposed.attributes.get("perm", ())) != [0, 1, 3, 2]:
            return None
        scale = self._scalar(scaled.inputs[1])
        if scale is None:
            return None
        operands = scaled.inputs[0], transposed.inputs[0], v
        return Node("Attention", operands, product.outputs, {"scale": scale}, product.name)

    def _before_casts(self, name: str) -> str:
        cast = self._maker(name, "Cast")
        while cast is not None:
            name = cast.inputs[0]
            cast = self._maker(name, "Cast")
        return name

    def _maker(self, name: str, operator: str) -> Node | None:
        node = self._producers.get(name)
        return node if node is not None and node.operator == operator and self._readers[name] == 1 else None

    def _scalar(self, name: str) -> float | None:
        initializer = self._initializers.get(name)
        if initializer is None or initializer.proto.dims:
            return None
        return float(initializer.embedded())
