"""Attention written out as products and a softmax becomes one node again, for torch's fused kernels.

Graphs have softmax(scale q k^T) v written out in operators that every engine knows; torch's own attention never holds
the matrix of scores, whose traffic is what the written-out form spends its time on at thousands of tokens.
"""

import dataclasses
import math
from collections import Counter

from memscan.kernels.torch_runtime.graph_file import GraphFile
from memscan.kernels.torch_runtime.node import Node


def fuse_attention(graph: GraphFile) -> GraphFile:
    """The graph with each softmax(scale q k^T) v as one Attention node.

    The left operand of the first product is `q` times a constant, the right one `k` with the last two of its four axes
    exchanged; the softmax is along the last axis. Between the products there may be conversions of dtype, and a mask:
    Where(mask, scores, -inf). Nothing else reads what lies between.
    """
    match = _Matcher(graph)
    nodes = [match(node) or node for node in graph.nodes]
    return dataclasses.replace(graph, nodes=nodes)


class _Matcher:
    """Follows values back to the nodes that make them, as long as nothing else reads them."""

    def __init__(self, graph: GraphFile) -> None:
        self._initializers = graph.initializers
        self._makers = {output: node for node in graph.nodes for output in node.outputs}
        self._readers = Counter(name for node in graph.nodes for name in node.inputs)
        self._readers.update(graph.outputs)

    def __call__(self, product: Node) -> Node | None:
        if product.operator != "MatMul":
            return None
        softmax = self._made_by("Softmax", self._unconverted(product.inputs[0]))
        if softmax is None or softmax.attributes.get("axis", -1) != -1:
            return None
        name, mask = self._unmasked(self._unconverted(softmax.inputs[0]))
        scores = self._made_by("MatMul", name)
        if scores is None:
            return None
        scaled, transposed = self._made_by("Mul", scores.inputs[0]), self._made_by("Transpose", scores.inputs[1])
        if scaled is None or transposed is None or transposed.attributes.get("perm") != [0, 1, 3, 2]:
            return None
        scale = self._scalar(scaled.inputs[1])
        if scale is None:
            return None
        operands = scaled.inputs[0], transposed.inputs[0], product.inputs[1], *mask
        return Node("Attention", operands, product.outputs, {"scale": scale}, product.name)

    def _made_by(self, operator: str, name: str) -> Node | None:
        node = self._makers.get(name)
        return node if node is not None and node.operator == operator and self._readers[name] == 1 else None

    def _unconverted(self, name: str) -> str:
        cast = self._made_by("Cast", name)
        return name if cast is None else self._unconverted(cast.inputs[0])

    def _unmasked(self, name: str) -> tuple[str, tuple[str, ...]]:
        where = self._made_by("Where", name)
        if where is None or self._scalar(where.inputs[2]) != -math.inf:
            return name, ()
        return where.inputs[1], where.inputs[:1]

    def _scalar(self, name: str) -> float | None:
        initializer = self._initializers.get(name)
        return None if initializer is None or initializer.proto.dims else float(initializer.embedded())
