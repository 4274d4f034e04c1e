"""Elementwise operators, conversions and reductions.

ONNX demands operands of one dtype, so that torch's promotion of mixed ones never comes into play.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import gelu as torch_gelu

from memscan.kernels.torch_runtime.dtypes import torch_dtype
from memscan.kernels.torch_runtime.lowering_table import Compute, LoweringTable, integers
from memscan.kernels.torch_runtime.node import Node

LOWERINGS = LoweringTable()

for _operator, _compute in {
    "Abs": torch.abs,
    "Add": torch.add,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Identity": lambda x: x,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
    "Sum": lambda *terms: sum(terms[1:], terms[0]),
    "Tanh": torch.tanh,
    "Where": torch.where,
}.items():
    LOWERINGS.function(_operator, _compute)


@LOWERINGS.lowering("Div")
def div(node: Node) -> Compute:
    """Quotients; of integers, rounded towards zero."""
    return lambda a, b: a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@LOWERINGS.lowering("Pow")
def power(node: Node) -> Compute:
    """The exponent may have a dtype of its own; the result has the base's."""
    return lambda a, b: torch.pow(a, b).to(a.dtype)


@LOWERINGS.lowering("Cast")
def cast(node: Node) -> Compute:
    """A conversion; `saturate` concerns 8-bit floating point only, which `torch_dtype` refuses."""
    dtype = torch_dtype(node.attribute("to"), str(node))
    node.without_effect("saturate")
    return lambda x: x.to(dtype)


@LOWERINGS.lowering("CastLike")
def cast_like(node: Node) -> Compute:
    """A conversion to the second operand's dtype."""
    node.without_effect("saturate")
    return lambda x, like: x.to(like.dtype)


@LOWERINGS.lowering("Gelu")
def gelu(node: Node) -> Compute:
    """x Phi(x), or its approximation by tanh."""
    approximate = node.only("approximate", "none", "tanh")
    return lambda x: torch_gelu(x, approximate=approximate)


@LOWERINGS.lowering("Softmax")
def softmax(node: Node) -> Compute:
    """Along one axis."""
    axis = node.attribute("axis", -1)
    return lambda x: torch.softmax(x, axis)


@LOWERINGS.lowering("ArgMax")
def argmax(node: Node) -> Compute:
    """The first of the largest entries along an axis, as torch promises too."""
    axis, keepdims = node.attribute("axis", 0), bool(node.attribute("keepdims", 1))
    node.only("select_last_index", 0)
    return lambda x: torch.argmax(x, axis, keepdim=keepdims)


@LOWERINGS.lowering("ReduceMean", on_host=(1,))
def reduce_mean(node: Node) -> Compute:
    """Means over axes."""
    return _reduction(node, torch.mean)


@LOWERINGS.lowering("ReduceSum", on_host=(1,))
def reduce_sum(node: Node) -> Compute:
    """Sums over axes."""
    return _reduction(node, torch.sum)


def _reduction(node: Node, reduce: Callable[..., Tensor]) -> Compute:
    keepdims = bool(node.attribute("keepdims", 1))
    noop = bool(node.attribute("noop_with_empty_axes", 0))

    def compute(x: Tensor, axes: Tensor | None = None) -> Tensor:
        over = integers(axes) if axes is not None else []
        if not over and noop:
            return x
        return reduce(x, dim=over or list(range(x.ndim)), keepdim=keepdims)

    return compute
