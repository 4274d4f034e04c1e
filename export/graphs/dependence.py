"""What in a graph depends on what."""

from collections.abc import Iterable, Sequence

import onnx_ir as ir


def dependent(graph: ir.Graph, sources: Iterable[ir.Value]) -> set[ir.Value]:
    """The values that are computed of any of `sources`, and these themselves."""
    found = set(sources)
    for node in graph:
        if any(value in found for value in node.inputs):
            found.update(node.outputs)
    return found


def inputs_named(graph: ir.Graph, names: Sequence[str]) -> list[ir.Value]:
    """The graph's inputs of these names, of those that there are."""
    return [value for value in graph.inputs if value.name in names]
