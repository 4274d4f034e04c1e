"""What passes and differentiation demand of graphs, in the words of ir-py, whose passes check `requires` before their
work and `ensures` after it.

A graph that a pass cannot take is for the user to know, so that it is an `ExportError` of one line; one that a pass
leaves unfit is our mistake.
"""

import onnx_ir as ir

from memscan.export.nodes.shapes import Dim, describe
from memscan.scanner.errors import ExportError


class Unfit(ExportError, ir.passes.PreconditionError):
    """A graph is not what a pass, or differentiation, requires."""


def require_shapes(model: ir.Model) -> None:
    """Check that every value has a dtype and a shape in which only the leading dimension is symbolic.

    Raises:
        Unfit: names the first value that fails, and its producer.
    """
    for node in model.graph:
        for value in node.outputs:
            if value.shape is None or value.dtype is None:
                raise Unfit(f"the traced graph has no shape or dtype for {value.name}, made by {describe(node)}")
            if any(not isinstance(dim, int) for dim in value.shape.dims[1:]) or _unknown(value.shape.dims[:1]):
                raise Unfit(
                    f"{value.name}, made by {describe(node)}, has shape {value.shape}: only the batch may be symbolic"
                )


def ensure_none_left(model: ir.Model, op_type: str) -> None:
    """Check that no node of an operator of the default domain is left.

    Raises:
        PostconditionError: names the first one.
    """
    for node in model.graph:
        if (node.domain, node.op_type) == ("", op_type):
            raise ir.passes.PostconditionError(f"{describe(node)} is left")


def _unknown(dims: tuple[Dim, ...]) -> bool:
    return any(isinstance(dim, ir.SymbolicDim) and dim.value is None for dim in dims)
