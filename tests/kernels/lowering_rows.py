"""The table that the torch engine's lowerings are tested by: for each operator, forms of it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

FLOAT, INT32, INT64, DOUBLE, BOOL, FLOAT16 = 1, 6, 7, 11, 9, 10
"""ONNX's numbers of element types."""


@dataclass(frozen=True)
class Fed:
    """An input that is fed at run time, as opposed to a constant of the graph."""

    array: np.ndarray


@dataclass(frozen=True)
class Row:
    """One form of an operator.

    `inputs` are, in the operator's order: a shape for normal random numbers that are fed, an array for a constant of
    the graph, `Fed`, or None for an absent one.
    """

    op: str
    inputs: tuple[tuple[int, ...] | np.ndarray | Fed | None, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    note: str = ""

    def __str__(self) -> str:
        return f"{self.op}-{self.note}" if self.note else self.op


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def number(value: int) -> np.ndarray:
    return np.array(value, np.int64)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def _positive(*shape: int) -> Fed:
    return Fed(np.abs(floats(*shape)) + np.float32(0.1))


_FROM_REALS = ("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Gelu", "Identity", "Neg", "Relu", "Sigmoid", "Sign", "Sin")
_COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_HALVES = Fed(np.array([-1.5, -0.5, 0.5, 1.5, 2.5, 0.2], np.float32))
_TIED = np.array([[1, 3, 3, 0], [2, 2, 1, 2]], np.float32)
_SIGNS = Fed(np.array([-7, 7, -8, 5]))

ELEMENTWISE = [
    *(Row(op, ((2, 5),)) for op in (*_FROM_REALS, "Tanh")),
    *(Row(op, (_positive(2, 5),)) for op in ("Log", "Reciprocal", "Sqrt")),
    Row("Round", (_HALVES,), note="halves-to-even"),
    Row("Gelu", ((2, 5),), {"approximate": "tanh"}, note="tanh"),
    *(Row(op, ((3, 1, 4), (2, 1))) for op in ("Add", "Sub", "Mul", "Div")),
    Row("Add", (_SIGNS, ints(1)), note="integers"),
    Row("Div", (_SIGNS, ints(2)), note="integers-towards-zero"),
    Row("Sum", ((2, 3), (3,), (2, 1))),
    Row("Sum", ((2, 3),), note="of-one"),
    Row("Pow", (_positive(2, 3), floats(2, 1))),
    Row("Pow", ((2, 3), ints(2)), note="integer-exponent"),
    Row("Pow", (_positive(2, 3), np.array(1.5)), note="wider-exponent"),
    Row("Pow", (Fed(ints(2, 3, 4)), np.array(0.5, np.float32)), note="integer-base"),
    *(Row(op, (Fed(_TIED), Fed(_TIED[:, ::-1].copy()))) for op in _COMPARISONS),
    Row("Where", (Fed(_TIED > 1), (2, 4), (1, 4))),
    Row("Cast", ((2, 5),), {"to": DOUBLE}, note="wider"),
    Row("Cast", ((2, 5),), {"to": FLOAT16}, note="narrower"),
    Row("Cast", (_HALVES,), {"to": INT64}, note="to-integers"),
    Row("Cast", (Fed(ints(-3, 0, 4)),), {"to": INT32}, note="between-integers"),
    Row("Cast", (Fed(ints(-3, 0, 4)),), {"to": BOOL}, note="to-booleans"),
    Row("Cast", ((2, 5),), {"to": FLOAT16, "saturate": 1}, note="saturate"),
    Row("Cast", (floats(4, 3).astype(np.float16),), {"to": FLOAT}, note="of-a-constant"),
    Row("CastLike", ((2, 5), np.zeros(1, np.float16))),
    Row("CastLike", ((2, 5), np.zeros(1, np.float16)), {"saturate": 1}, note="saturate"),
]

REDUCTIONS = [
    Row("Softmax", ((2, 3, 4),)),
    Row("Softmax", ((2, 3, 4),), {"axis": 1}, note="axis-1"),
    Row("ReduceMean", ((2, 3, 4), ints(-1))),
    Row("ReduceMean", ((2, 3, 4), ints(1, 2)), {"keepdims": 0}, note="two-axes-dropped"),
    Row("ReduceMean", ((2, 3, 4),), note="all-axes"),
    Row("ReduceMean", ((2, 3, 4),), {"noop_with_empty_axes": 1}, note="no-axes-nothing-done"),
    Row("ReduceSum", ((2, 3, 4), ints(0)), {"keepdims": 0}),
    Row("ReduceSum", ((2, 3, 4), ints()), {"noop_with_empty_axes": 1}, note="no-axes-nothing-done"),
    Row("ReduceSum", ((2, 3, 4), ints()), note="no-axes-all"),
    Row("ArgMax", (Fed(_TIED),), note="first-axis"),
    Row("ArgMax", (Fed(_TIED),), {"axis": 1}, note="first-of-equals"),
    Row("ArgMax", (Fed(_TIED.astype(np.int32)),), {"axis": -1, "keepdims": 0}, note="axis-dropped"),
]

LAYOUT = [
    Row("Shape", ((2, 3, 4),)),
    Row("Shape", ((2, 3, 4),), {"start": -2, "end": -1}, note="part"),
    Row("Range", (number(2), number(11), number(3))),
    Row("Reshape", ((2, 3, 4), ints(0, -1))),
    Row("Reshape", ((2, 3, 4), ints(4, 6)), {"allowzero": 1}, note="allowzero"),
    Row("Reshape", ((0, 3), ints(3, 0)), {"allowzero": 1}, note="to-nothing"),
    Row("Unsqueeze", ((2, 3), ints(3, 0))),
    Row("Unsqueeze", ((2, 3), ints(-1)), note="negative-axis"),
    Row("Squeeze", ((1, 3, 1, 1), ints(0, -1))),
    Row("Squeeze", ((1, 3, 1, 1),), note="all"),
    Row("Transpose", ((2, 3, 4),), {"perm": [1, 2, 0]}),
    Row("Transpose", ((2, 3, 4),), note="reversed"),
    Row("Expand", ((3, 1), ints(2, 1, 4))),
    Row("Concat", ((2, 3), (2, 1), (2, 2)), {"axis": -1}),
    Row("Split", ((2, 6), ints(1, 3, 2)), {"axis": 1}, outputs=3),
    Row("Split", ((4, 3), ints(1, 3)), outputs=2, note="first-axis"),
    Row("Split", ((2, 6),), {"axis": -1, "num_outputs": 2}, outputs=2, note="halves"),
    Row("Split", ((2, 7),), {"axis": 1, "num_outputs": 3}, outputs=3, note="shorter-last"),
    Row("Slice", ((4, 5, 6), ints(1, -3), ints(3, 2**63 - 1), ints(0, -1))),
    Row("Slice", ((4, 5), ints(1, 0), ints(-1, 5)), note="leading-axes"),
    Row("Slice", ((7, 2), ints(0), ints(7), ints(0), ints(3)), note="by-threes"),
    Row("Gather", ((5, 3), ints(4, -5, 0))),
    Row("Gather", (floats(5, 3), Fed(np.array([[1, 4, 1], [0, 2, 3]]))), note="rows-of-a-constant"),
    Row("Gather", ((2, 5, 3), number(-2)), {"axis": 1}, note="one-entry"),
    Row("GatherND", ((4, 3, 2), Fed(np.array([[0, 2], [3, -1]])))),
    Row("GatherND", (floats(9), Fed(np.array([[7], [0], [7]]))), note="numbers"),
    Row("GatherND", ((4, 3), ints(2, 1)), note="one-entry"),
    Row("Pad", ((2, 3), ints(1, 0, 0, 2))),
    Row("Pad", ((2, 3), ints(1, 2), np.array(7, np.float32), ints(-1)), note="fill-and-axis"),
    Row("Resize", ((1, 2, 3, 2), None, np.array([1, 1, 2, 3], np.float32))),
    Row(
        "Resize",
        ((1, 2, 3, 2), None, np.array([1, 1, 2, 3], np.float32)),
        {"mode": "nearest", "cubic_coeff_a": -0.5, "extrapolation_value": 5.0},
        note="of-no-effect",
    ),
    Row(
        "Resize",
        ((1, 2, 3, 2), None, None, ints(1, 2, 6, 8)),
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        note="sizes",
    ),
]

PRODUCTS = [
    Row("MatMul", ((2, 3, 4), (4, 5))),
    Row("MatMul", ((3, 2, 3, 4), (2, 4, 5)), note="broadcast"),
    Row("Gemm", ((2, 3), floats(5, 3), floats(5)), {"transB": 1}),
    Row("Gemm", ((3, 2), (3, 5), (2, 1)), {"transA": 1, "alpha": 0.5, "beta": 2.0}, note="scaled"),
    Row("Gemm", ((2, 3), (3, 5)), {"alpha": 0.5}, note="no-addend"),
    Row("Conv", ((2, 3, 5, 6), floats(4, 3, 3, 3), floats(4)), {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}),
    Row("Conv", ((2, 3, 6, 6), floats(4, 3, 3, 3)), {"pads": [0, 0, 1, 1], "strides": [2, 2]}, note="uneven-padding"),
    Row("Conv", ((2, 3, 6, 6), floats(4, 3, 3, 3)), {"pads": [1, 0, 0, 2]}, note="padding-before-and-after"),
    Row("Conv", ((2, 3, 6, 7), floats(4, 3, 2, 2)), {"dilations": [2, 3], "strides": [1, 2]}, note="dilated"),
    Row("Conv", ((2, 4, 5, 5), floats(6, 2, 1, 3)), {"group": 2, "pads": [0, 1, 0, 1]}, note="groups"),
]

_SMALL = Fed(floats(2, 3, 7) / 300)
"""Of a variance like the default epsilon of 1e-5, which then decides the result."""

NORMALIZATIONS = [
    Row("GroupNormalization", ((2, 6, 3, 2), floats(6), floats(6)), {"num_groups": 3, "epsilon": 0.1}),
    Row("GroupNormalization", (_SMALL, floats(3), floats(3)), {"num_groups": 3}, note="default-epsilon"),
    Row("InstanceNormalization", ((2, 3, 7), floats(3), floats(3)), {"epsilon": 0.1}),
    Row("InstanceNormalization", (_SMALL, floats(3), floats(3)), note="default-epsilon"),
    Row("LayerNormalization", (_SMALL, floats(7)), note="default-epsilon"),
    Row("GroupNormalization", (_SMALL, floats(3), floats(3)), {"num_groups": 3, "stash_type": 1}, note="float32-sums"),
    Row("LayerNormalization", (_SMALL, floats(7)), {"stash_type": 1}, note="float32-sums"),
    Row("LayerNormalization", ((2, 3, 6), floats(6), floats(6)), {"epsilon": 0.1}),
    Row("LayerNormalization", ((2, 3, 6), floats(3, 6)), {"axis": 1}, note="two-axes-no-shift"),
]

_QUERIES, _KEYS = (2, 3, 5, 4), (2, 3, 7, 4)
_TRIANGLE = np.tril(np.ones((5, 7), bool))

ATTENTION = [
    Row("Attention", (_QUERIES, _KEYS, _KEYS), {"scale": 0.3}),
    Row("Attention", (_QUERIES, _KEYS, _KEYS), note="default-scale"),
    Row("Attention", (_QUERIES, _KEYS, _KEYS, (2, 1, 5, 7)), note="added-mask"),
    Row("Attention", (_QUERIES, _KEYS, _KEYS, _TRIANGLE), note="boolean-mask"),
    Row("Attention", (_QUERIES, _QUERIES, _QUERIES), {"is_causal": 1}, note="causal"),
    Row(
        "Attention",
        (_QUERIES, _KEYS, _KEYS),
        {"softcap": 0.0, "qk_matmul_output_mode": 0, "softmax_precision": FLOAT},
        note="defaults-stated",
    ),
]

ROWS = [*ELEMENTWISE, *REDUCTIONS, *LAYOUT, *PRODUCTS, *NORMALIZATIONS, *ATTENTION]

REFUSED = [
    (Row("Scan", ((2, 3),)), "the operator of Scan node 'node'"),
    (Row("Softmax", ((2, 3),), {"temperature": 2.0}), "the attribute temperature of Softmax node 'node'"),
    (Row("LayerNormalization", ((2, 3), floats(3)), outputs=2), "a second output of LayerNormalization node 'node'"),
    (Row("GroupNormalization", ((2, 4), floats(4), floats(4))), "lacks its attribute num_groups"),
    (
        Row("GroupNormalization", ((2, 4), floats(4), floats(4)), {"num_groups": 2, "stash_type": 11}),
        "stash_type = 11 of GroupNormalization",
    ),
    (Row("LayerNormalization", ((2, 3), floats(3)), {"stash_type": 11}), "stash_type = 11 of LayerNormalization"),
    (Row("Conv", ((2, 3, 5, 5), floats(4, 3, 3, 3)), {"auto_pad": "SAME_UPPER"}), "auto_pad = 'SAME_UPPER' of Conv"),
    (
        Row("Conv", ((2, 3, 5, 5), floats(4, 3, 3, 3)), {"kernel_shape": [2, 2]}),
        "a weight (4, 3, 3, 3) where the kernel is (2, 2) of Conv",
    ),
    (Row("Conv", ((2, 3, 5), floats(4, 3, 3)), {"strides": [2]}), "strides = [2], of other than two axes, of Conv"),
    (Row("Gelu", ((2, 3),), {"approximate": "sigmoid"}), "approximate = 'sigmoid' of Gelu"),
    (Row("Cast", ((2, 3),), {"to": 17}), "the element type 17 of Cast"),
    (Row("Slice", ((4,), ints(-1), ints(0), ints(0), ints(-1))), "a backward step of Slice"),
    (Row("Pad", ((2, 3), ints(1, 0, 0, 2)), {"mode": "reflect"}), "mode = 'reflect' of Pad"),
    (Row("Squeeze", ((2, 3), ints(0))), "the shape (2, 3), of which axes [0] must be 1, of Squeeze"),
    (Row("ArgMax", ((2, 3),), {"select_last_index": 1}), "select_last_index = 1 of ArgMax"),
    (Row("GatherND", ((2, 3), ints(0)), {"batch_dims": 1}), "batch_dims = 1 of GatherND"),
    (Row("Resize", ((1, 2, 4, 4), None, np.array([1, 1, 2, 2], np.float32)), {"mode": "linear"}), "an interpolation"),
    *(
        (Row("Resize", ((1, 2, 4, 4), None, None, ints(1, 2, 8, 8)), {name: value}), f"{name} = {value!r} of Resize")
        for name, value in {"antialias": 1, "exclude_outside": 1, "keep_aspect_ratio_policy": "not_larger"}.items()
    ),
    (Row("Resize", ((1, 2, 4, 4), None, None, ints(8, 8)), {"axes": [2, 3]}), "the attribute axes of Resize"),
    (Row("Resize", ((1, 2, 4, 4), None, None, ints(1, 2, 6, 8))), "a change from (1, 2, 4, 4) to (1, 2, 6, 8)"),
    (
        Row("Resize", ((1, 2, 4, 4), None, None, ints(1, 2, 8, 8)), {"nearest_mode": "ceil"}),
        "the convention ('half_pixel', 'ceil')",
    ),
    (Row("Attention", (_QUERIES, _KEYS, _KEYS), {"softcap": 5.0}), "softcap = 5.0 of Attention"),
    (Row("Attention", (_QUERIES, _KEYS, _KEYS), {"softmax_precision": 10}), "a softmax in other than float32"),
    (Row("Attention", (_QUERIES, _KEYS, _KEYS), {"qk_matmul_output_mode": 1}), "qk_matmul_output_mode = 1 of"),
    (
        Row("Attention", ((2, 5, 12),) * 3, {"q_num_heads": 3, "kv_num_heads": 3}),
        "the attribute kv_num_heads, q_num_heads of Attention",
    ),
    (Row("Attention", (_QUERIES, _QUERIES, _QUERIES, (5, 5)), {"is_causal": 1}), "a mask on top of the causal one"),
    (Row("Attention", (_QUERIES, _KEYS, _KEYS, None, _KEYS)), "a cache of keys and values"),
    (Row("Attention", (_QUERIES, _KEYS, _KEYS, None, _KEYS, _KEYS), outputs=3), "a cache of keys and values"),
    (Row("Attention", ((2, 4, 5, 4), _KEYS, _KEYS)), "fewer heads of keys than of queries"),
    (Row("Reshape", ((2, 3), Fed(ints(3, 2)))), "cannot shape values by the numbers of the input x1"),
]
"""What has no lowering, and how the refusal begins or ends."""
