"""The table that the derivative rules are tested by: for each operator, forms of it and the same function in torch."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.export.autodiff.held_rows import HELD
from tests.export.autodiff.rule_row import Row, Shape, constant, floats, ints


def _group_norm(x: Tensor) -> Tensor:
    return F.group_norm(x, 2, constant(floats(4)), constant(floats(4) + 1), eps=0.1)


def _elementwise(op: str, function: Callable[[Tensor], Tensor], domain: Literal["real", "positive"] = "real") -> Row:
    return Row(op, ((2, 5),), function, domain=domain, batch=True)


ELEMENTWISE = [
    _elementwise("Abs", torch.abs),
    _elementwise("Cos", torch.cos),
    _elementwise("Erf", torch.erf),
    _elementwise("Exp", torch.exp),
    _elementwise("Gelu", F.gelu),
    _elementwise("Identity", torch.clone),
    _elementwise("Log", torch.log, "positive"),
    _elementwise("Neg", torch.neg),
    _elementwise("Reciprocal", torch.reciprocal, "positive"),
    _elementwise("Relu", torch.relu),
    _elementwise("Sigmoid", torch.sigmoid),
    _elementwise("Sin", torch.sin),
    _elementwise("Sqrt", torch.sqrt, "positive"),
    _elementwise("Tanh", torch.tanh),
    Row("Gelu", ((2, 5),), lambda x: F.gelu(x, approximate="tanh"), {"approximate": "tanh"}, batch=True, note="tanh"),
    Row("Cast", ((2, 5),), torch.clone, {"to": 11}, batch=True, note="to-double"),
]

_MASK = np.array([[True, False, True, False]] * 2)

ARITHMETIC = [
    Row("Add", ((2, 4), (2, 4)), torch.add, batch=True),
    Row("Add", ((3, 1, 4), (2, 1)), torch.add, note="broadcast"),
    Row("Add", ((4,), (2, 3, 4)), torch.add, note="lower-rank-first"),
    Row("Sub", ((2, 4), (2, 1)), torch.sub, batch=True),
    Row("Sub", ((4,), (2, 3, 4)), torch.sub, note="lower-rank-first"),
    Row("Mul", ((2, 4), (2, 4)), torch.mul, batch=True),
    Row("Mul", ((4,), (2, 3, 1)), torch.mul, note="broadcast-both"),
    Row("Div", ((2, 4), (2, 1)), torch.div, domain="positive", batch=True),
    Row("Div", ((4,), (2, 3, 4)), torch.div, domain="positive", note="lower-rank-first"),
    Row("Pow", ((2, 4), (4,)), torch.pow, domain="positive"),
    Row("Pow", ((2, 4), np.array(3.0)), lambda x: x**3, batch=True, note="cube"),
    Row("Where", (_MASK, (2, 4), (2, 4)), lambda a, b: torch.where(constant(_MASK), a, b)),
    Row("Where", (_MASK, (4,), (2, 1)), lambda a, b: torch.where(constant(_MASK), a, b), note="broadcast"),
    Row("ReduceMean", ((2, 3, 4), ints(-1)), lambda x: x.mean(-1, keepdim=True), batch=True),
    Row("ReduceMean", ((2, 3, 4), ints(1, 2)), lambda x: x.mean((1, 2)), {"keepdims": 0}, batch=True, note="dropped"),
    Row("ReduceMean", ((2, 3),), torch.clone, {"noop_with_empty_axes": 1}, note="noop"),
    Row("ReduceSum", ((2, 3, 4), ints(1)), lambda x: x.sum(1, keepdim=True), batch=True),
    Row("ReduceSum", ((2, 3),), lambda x: x.sum(), {"keepdims": 0}, note="all"),
    Row("ReduceSum", ((2, 3),), torch.clone, {"noop_with_empty_axes": 1}, note="noop"),
]

LAYOUT = [
    Row("Concat", ((2, 3), (2, 1)), lambda a, b: torch.cat([a, b], 1), {"axis": -1}, batch=True),
    Row("Expand", ((2, 1), ints(3, 2, 4)), lambda x: x.expand(3, 2, 4)),
    Row("Flatten", ((2, 3, 4),), lambda x: x.flatten(1), batch=True),
    Row("Flatten", ((2, 3, 4),), lambda x: x.flatten(0, 1), {"axis": 2}, note="axis-2"),
    Row("Gather", ((2, 5), ints(3, 0, 3)), lambda x: x[:, [3, 0, 3]], {"axis": -1}, batch=True),
    Row("Gather", ((4, 3), np.array(2)), lambda x: x[2], note="scalar-index"),
    Row("Pad", ((2, 3), ints(0, 1, 0, 2), np.array(7.0)), lambda x: F.pad(x, (1, 2), value=7.0), batch=True),
    Row(
        "Pad",
        ((2, 3, 4), ints(1, 2), None, ints(-1)),
        lambda x: F.pad(x, (1, 2), mode="reflect"),
        {"mode": "reflect"},
        note="reflect",
    ),
    Row("Reshape", ((2, 3, 4), ints(-1, 6, 2)), lambda x: x.reshape(-1, 6, 2), batch=True),
    Row("Slice", ((2, 6, 5), ints(1), ints(6), ints(-2), ints(2)), lambda x: x[:, 1:6:2], batch=True),
    Row("Slice", ((4, 6), ints(1, 2), ints(3, 5)), lambda x: x[1:3, 2:5], note="no-axes"),
    Row("Split", ((2, 5), ints(2, 3)), lambda x: x[:, :2], {"axis": -1}, outputs=2, batch=True),
    Row("Split", ((4, 3), ints(3, 1)), lambda x: x[:3], outputs=2, note="first-axis"),
    Row("Split", ((2, 5),), lambda x: x[:, :3], {"axis": 1, "num_outputs": 2}, outputs=2, note="uneven"),
    Row("Squeeze", ((2, 1, 3), ints(1)), lambda x: x.squeeze(1), batch=True),
    Row("Transpose", ((2, 3, 4),), lambda x: x.permute(0, 2, 1), {"perm": [0, 2, 1]}, batch=True),
    Row("Transpose", ((2, 3, 4),), lambda x: x.permute(2, 1, 0), note="default"),
    Row("Unsqueeze", ((2, 3), ints(1, -1)), lambda x: x[:, None, :, None], batch=True),
]


def _gemm(trans_a: bool, trans_b: bool) -> Row:
    def function(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return 0.5 * (a.mT if trans_a else a) @ (b.mT if trans_b else b) + 2 * c

    shapes = ((4, 3) if trans_a else (3, 4), (5, 4) if trans_b else (4, 5), (5,))
    attributes = {"transA": int(trans_a), "transB": int(trans_b), "alpha": 0.5, "beta": 2.0}
    return Row("Gemm", shapes, function, attributes, note=f"transA{trans_a:d}-transB{trans_b:d}")


_SCALES = np.array([1.0, 1.0, 2.0, 2.0], np.float32)
_KERNEL, _BIAS = floats(4, 3, 3, 3), floats(4)

PRODUCTS = [
    *(_gemm(trans_a, trans_b) for trans_a in (False, True) for trans_b in (False, True)),
    Row("Gemm", ((3, 4), floats(4, 5)), lambda a: a @ constant(floats(4, 5)), batch=True, note="no-C"),
    Row("MatMul", ((2, 3, 4), floats(4, 5)), lambda a: a @ constant(floats(4, 5)), batch=True, note="weight"),
    Row("MatMul", ((2, 3, 4), (2, 4, 5)), torch.matmul, batch=True, note="batched"),
    Row("MatMul", ((3, 4), (2, 4, 5)), torch.matmul, note="lower-rank-first"),
    Row("MatMul", ((2, 3, 4), (4, 5)), torch.matmul, note="lower-rank-second"),
    Row(
        "Conv",
        ((2, 3, 6, 5), _KERNEL, _BIAS),
        lambda x: F.conv2d(x, constant(_KERNEL), constant(_BIAS), stride=2, padding=1),
        {"strides": [2, 2], "pads": [1, 1, 1, 1]},
        batch=True,
        note="bias",
    ),
    Row(
        "Conv",
        ((2, 3, 8), floats(4, 3, 3)),
        lambda x: F.conv1d(x, constant(floats(4, 3, 3)), dilation=2),
        {"dilations": [2], "kernel_shape": [3]},
        batch=True,
        note="dilated",
    ),
    Row(
        "Conv",
        ((2, 4, 5), floats(6, 2, 3)),
        lambda x: F.conv1d(x, constant(floats(6, 2, 3)), groups=2),
        {"group": 2},
        batch=True,
        note="grouped-1d",
    ),
    Row(
        "ConvTranspose",
        ((2, 3, 4, 4), floats(3, 2, 2, 2), floats(2)),
        lambda x: F.conv_transpose2d(x, constant(floats(3, 2, 2, 2)), constant(floats(2)), stride=2),
        {"strides": [2, 2]},
        batch=True,
    ),
    Row(
        "ConvTranspose",
        ((2, 4, 5), floats(4, 3, 3)),
        lambda x: F.conv_transpose1d(x, constant(floats(4, 3, 3)), padding=1),
        {"pads": [1, 1], "kernel_shape": [3]},
        batch=True,
        note="padded-1d",
    ),
    Row(
        "AveragePool",
        ((2, 3, 4, 4),),
        lambda x: F.avg_pool2d(x, 2, padding=1, count_include_pad=False),
        {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        batch=True,
    ),
    Row(
        "AveragePool", ((2, 3, 5),), lambda x: F.avg_pool1d(x, 3, 1), {"kernel_shape": [3]}, batch=True, note="defaults"
    ),
    Row(
        "AveragePool",
        ((2, 3, 4, 4),),
        lambda x: F.avg_pool2d(x, 2, padding=1, count_include_pad=True),
        {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1},
        batch=True,
        note="padding-counted",
    ),
    Row("GlobalAveragePool", ((2, 3, 4, 4),), lambda x: x.mean((2, 3), keepdim=True), batch=True),
    Row(
        "Resize",
        ((2, 3, 3, 4), None, _SCALES),
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        batch=True,
        note="nearest",
    ),
    Row(
        "Resize",
        ((2, 3, 3, 4), None, _SCALES),
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
        batch=True,
        note="defaults",
    ),
    Row(
        "Resize",
        ((2, 3, 3, 4), None, None, ints(7, 6)),
        lambda x: F.interpolate(x, size=(7, 6), mode="nearest"),
        {"axes": [2, 3], "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        note="sizes-of-two-axes",
    ),
    Row(
        "Resize",
        ((2, 3, 3, 4), None, None, ints(2, 3, 7, 6)),
        lambda x: F.interpolate(x, size=(7, 6), mode="nearest"),
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        note="sizes",
    ),
    Row(
        "Resize",
        ((2, 3, 3, 4), None, _SCALES),
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
        batch=True,
        note="linear",
    ),
]

NORMS = [
    Row("Softmax", ((2, 3, 5),), lambda x: x.softmax(-1), batch=True),
    Row("Softmax", ((2, 3, 5),), lambda x: x.softmax(1), {"axis": 1}, batch=True, note="axis1"),
    Row(
        "LayerNormalization",
        ((2, 3, 5), floats(5), floats(5) + 1),
        lambda x: F.layer_norm(x, (5,), constant(floats(5)), constant(floats(5) + 1), eps=0.1),
        {"epsilon": 0.1},
        batch=True,
    ),
    Row(
        "LayerNormalization",
        ((2, 3, 5), floats(3, 5)),
        lambda x: F.layer_norm(x, (3, 5), constant(floats(3, 5))),
        {"axis": 1},
        batch=True,
        note="two-axes-no-shift",
    ),
    Row(
        "LayerNormalization",
        ((2, 5), floats(5)),
        lambda x: F.layer_norm(x, (5,), constant(floats(5))),
        outputs=3,
        note="mean-and-deviation-unused",
    ),
    Row(
        "GroupNormalization",
        ((2, 4, 3, 3), floats(4), floats(4) + 1),
        _group_norm,
        {"num_groups": 2, "epsilon": 0.1, "stash_type": 11},
        batch=True,
    ),
    Row(
        "InstanceNormalization",
        ((2, 3, 4, 4), floats(3), floats(3) + 1),
        lambda x: F.instance_norm(x, weight=constant(floats(3)), bias=constant(floats(3) + 1), eps=0.1),
        {"epsilon": 0.1},
        batch=True,
    ),
    Row(
        "GroupNormalization",
        ((2, 4, 3), floats(4), floats(4)),
        lambda x: F.group_norm(x, 2, constant(floats(4)), constant(floats(4))),
        {"num_groups": 2, "stash_type": 11},
        note="default-epsilon",
    ),
    Row(
        "InstanceNormalization",
        ((2, 3, 4), floats(3), floats(3)),
        lambda x: F.instance_norm(x, weight=constant(floats(3)), bias=constant(floats(3))),
        note="default-epsilon",
    ),
    Row(
        "RMSNormalization",
        ((2, 3, 5), floats(5)),
        lambda x: F.rms_norm(x, (5,), constant(floats(5)), eps=0.1),
        {"epsilon": 0.1},
        batch=True,
    ),
    Row(
        "RMSNormalization",
        ((2, 3, 5), floats(3, 5)),
        lambda x: F.rms_norm(x, (3, 5), constant(floats(3, 5)), eps=1e-5),
        {"axis": 1},
        batch=True,
        note="two-axes",
    ),
]


_QKV = ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4))

ATTENTION = [
    Row(
        "Attention",
        _QKV,
        lambda q, k, v: (q @ k.mT / 2).softmax(-1) @ v,
        batch=True,
        note="default-scale",
    ),
    Row(
        "Attention",
        _QKV,
        lambda q, k, v: (q @ k.mT * 0.25).softmax(-1) @ v,
        {"scale": 0.25},
        batch=True,
        note="scale",
    ),
]

ROWS = [*ELEMENTWISE, *ARITHMETIC, *LAYOUT, *PRODUCTS, *NORMS, *HELD, *ATTENTION]

ZERO_INPUTS: dict[str, tuple[Shape | np.ndarray, ...]] = {
    "memscan.cut::Stop": ((2, 3),),
    **dict.fromkeys(("Shape", "Size", "Sign", "Floor", "Ceil", "Round"), ((2, 3),)),
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"), ((2, 3), (2, 3))),
}
"""Operators that are constant almost everywhere, or are taken to be, and the shapes of their inputs."""
