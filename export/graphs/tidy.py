"""What differentiation leaves in a graph that nobody needs."""

import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    IdentityEliminationPass,
    RemoveUnusedNodesPass,
    TopologicalSortPass,
)


def tidy(model: ir.Model) -> None:
    """Compute what is equal once, drop what has no use, and sort the rest, in place."""
    ir.passes.Sequential(
        CommonSubexpressionEliminationPass(),
        IdentityEliminationPass(),
        RemoveUnusedNodesPass(),
        TopologicalSortPass(),
    )(model)
