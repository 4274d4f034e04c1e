"""Normalizations. torch sums them in float32 for half precision too, which is what stash_type 1 demands."""

from torch import Tensor
from torch.nn.functional import group_norm, layer_norm

from memscan.kernels.torch_runtime.lowering_table import Compute, LoweringTable
from memscan.kernels.torch_runtime.node import Node

LOWERINGS = LoweringTable()


@LOWERINGS.lowering("GroupNormalization")
def group_normalization(node: Node) -> Compute:
    """Groups of channels normalized; scale and shift per channel, as from opset 21 on."""
    groups, epsilon = node.attribute("num_groups"), node.attribute("epsilon", 1e-5)
    node.only("stash_type", 1)
    return lambda x, scale, shift: group_norm(x, groups, scale, shift, epsilon)


@LOWERINGS.lowering("InstanceNormalization")
def instance_normalization(node: Node) -> Compute:
    """Every channel a group of its own."""
    epsilon = node.attribute("epsilon", 1e-5)
    return lambda x, scale, shift: group_norm(x, x.shape[1], scale, shift, epsilon)


@LOWERINGS.lowering("LayerNormalization")
def layer_normalization(node: Node) -> Compute:
    """Over all axes from `axis` on."""
    axis, epsilon = node.attribute("axis", -1), node.attribute("epsilon", 1e-5)
    node.only("stash_type", 1)

    def compute(x: Tensor, scale: Tensor, shift: Tensor | None = None) -> Tensor:
        return layer_norm(x, x.shape[axis:], scale, shift, epsilon)

    return compute
