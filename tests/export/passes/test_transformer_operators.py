"""Operators of transformers that not every engine knows: what takes their place has the same values."""

import numpy as np
import onnx_ir as ir
import pytest

from memscan.export.passes.permuting_einsum import TransposePermutingEinsum
from memscan.export.passes.written_out_rms_norm import WriteOutRmsNorm
from tests.export.autodiff.rule_row import Row
from tests.export.autodiff.rule_rows import ROWS
from tests.export.autodiff.single_node import build, draw, evaluate


@pytest.mark.parametrize("row", [row for row in ROWS if row.op == "RMSNormalization"], ids=str)
def test_rms_normalization_written_out_keeps_values_and_leaves_none(row: Row) -> None:
    point, _ = draw(row, 1)
    model = build(row)
    written_out = model.clone()
    assert WriteOutRmsNorm()(written_out).modified
    operators = [node.op_type for node in written_out.graph]
    assert operators == ["Mul", "ReduceMean", "Add", "Sqrt", "Reciprocal", "Mul", "Mul", "Cast"]
    assert all(value.shape is not None for node in written_out.graph for value in node.outputs)
    np.testing.assert_allclose(
        evaluate(written_out, point, "y"), evaluate(model, point, "y"), rtol=1e-7
    )  # epsilon is float32


def test_an_einsum_that_permutes_axes_becomes_a_transpose() -> None:
    model = _einsum("nhwpqc->nchpwq", (2, 3, 4, 2, 2, 5))
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 2, 2, 5))
    expected = evaluate(model, {"x0": x}, "y")
    assert TransposePermutingEinsum()(model).modified
    assert [node.op_type for node in model.graph] == ["Transpose", "Cast"]
    np.testing.assert_array_equal(evaluate(model, {"x0": x}, "y"), expected)


@pytest.mark.parametrize("equation", ["nhw->nh", "nhh->nh", "...h->h..."])
def test_an_einsum_that_does_more_is_left_alone(equation: str) -> None:
    model = _einsum(equation, (2, 3, 3))
    assert not TransposePermutingEinsum()(model).modified
    assert [node.op_type for node in model.graph] == ["Einsum", "Cast"]


def _einsum(equation: str, shape: tuple[int, ...]) -> ir.Model:
    return build(Row("Einsum", (shape,), lambda x: x, {"equation": equation}))
