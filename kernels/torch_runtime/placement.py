"""Where the values of a graph must be: on the device, in the host's memory, or both.

Numbers that shape results are read on the host, and so is all that they are computed from, back to constants and to
the shapes of values on the device, which are known there without asking it. What no output needs is nowhere.
"""

from typing import NamedTuple

from memscan.kernels.torch_runtime.graph_file import GraphFile
from memscan.kernels.torch_runtime.lowering_table import Lowering
from memscan.kernels.torch_runtime.lowerings import LOWERINGS
from memscan.kernels.torch_runtime.node import Node
from memscan.scanner.errors import BundleError


class Value(NamedTuple):
    """A value of a graph in one of its two places."""

    name: str
    on_host: bool


def lowering_of(node: Node) -> Lowering:
    """The lowering of a node's operator.

    Raises:
        BundleError: it has none.
    """
    if node.operator not in LOWERINGS:
        raise BundleError(f"the torch engine does not know the operator of {node}")
    return LOWERINGS[node.operator]


def operands(node: Node, on_host: bool) -> list[Value | None]:
    """Where a node that is computed on host or device finds its inputs; None for one that is absent."""
    lowering = lowering_of(node)
    places = [not lowering.shape_only and (on_host or index in lowering.on_host) for index, _ in enumerate(node.inputs)]
    return [Value(name, place) if name else None for name, place in zip(node.inputs, places, strict=True)]


def needed_values(graph: GraphFile) -> set[Value]:
    """The values that the outputs of a graph, on the device, depend on.

    Raises:
        BundleError: an operator has no lowering, numbers of an input would have to be read on the host, or a shape
            computed with on the device.
    """
    needed = {Value(name, on_host=False) for name in graph.outputs}
    for node in reversed(graph.nodes):
        for on_host in (True, False):
            if any(Value(name, on_host) in needed for name in node.outputs):
                if lowering_of(node).shape_only and not on_host:
                    raise BundleError(
                        f"the torch engine uses shapes only to shape values, not as numbers, as of {node}"
                    )
                needed.update(value for value in operands(node, on_host) if value is not None)
    for name in graph.inputs:
        if Value(name, on_host=True) in needed:
            raise BundleError(f"the torch engine cannot shape values by the numbers of the input {name}")
    return needed
