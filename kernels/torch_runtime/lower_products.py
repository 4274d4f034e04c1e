"""Matrix products and convolutions."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torch.nn.functional import pad as torch_pad

from memscan.kernels.torch_runtime.lowering_table import Compute, LoweringTable
from memscan.kernels.torch_runtime.node import Node

LOWERINGS = LoweringTable()

LOWERINGS.function("MatMul", torch.matmul)


@LOWERINGS.lowering("Gemm")
def gemm(node: Node) -> Compute:
    """alpha A B + beta C, with A and B transposed if said so."""
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    transpose_a, transpose_b = node.attribute("transA", 0), node.attribute("transB", 0)

    def compute(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a, b = a.T if transpose_a else a, b.T if transpose_b else b
        return alpha * (a @ b) if c is None else torch.addmm(c, a, b, beta=beta, alpha=alpha)

    return compute


@LOWERINGS.lowering("Conv")
def conv(node: Node) -> Compute:
    """Two-dimensional convolution; padding may differ from side to side."""
    node.only("auto_pad", "NOTSET")
    kernel = node.attribute("kernel_shape", None)
    top, left, bottom, right = _of_two_axes(node, "pads", [0, 0, 0, 0])
    stride, dilation = _of_two_axes(node, "strides", [1, 1]), _of_two_axes(node, "dilations", [1, 1])
    groups = node.attribute("group", 1)
    even = (top, left) == (bottom, right)

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if kernel is not None and list(weight.shape[2:]) != list(kernel):
            raise node.unsupported(f"a weight {tuple(weight.shape)} where the kernel is {tuple(kernel)}")
        if not even:
            x = torch_pad(x, (left, right, top, bottom))
        return conv2d(x, weight, bias, stride, (top, left) if even else 0, dilation, groups)

    return compute


def _of_two_axes(node: Node, name: str, default: list[int]) -> Any:
    value = node.attribute(name, default)
    if len(value) != len(default):
        raise node.unsupported(f"{name} = {value!r}, of other than two axes,")
    return value
