"""Every form of an operator that the rules refuse, and every mistake of a rule that is caught, by its message."""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from memscan.export.autodiff.jvp import jvp
from memscan.export.autodiff.rule_table import MissingRule
from memscan.export.autodiff.rules import RULES
from memscan.export.autodiff.tape import Tape
from memscan.scanner.errors import ExportError
from tests.export.autodiff.rule_row import Row, floats, ints
from tests.export.autodiff.single_node import build

K = 3
_REGION = np.array([0, 0, 0, 0, 1, 1, 1, 1.0])
_QUERY, _KEY = (2, 4, 5, 6), (2, 2, 5, 6)


def _row(op: str, *inputs: "tuple[int, ...] | np.ndarray | None", outputs: int = 1, **attributes: object) -> Row:
    return Row(op, inputs, torch.clone, attributes, outputs=outputs)


REFUSED = [
    (
        _row("Conv", (1, 2, 5), (3, 2, 3)),
        ("x1",),
        "no derivative rule for Conv node 'node' with respect to its input 'x1'",
    ),
    (_row("MatMul", (4,), floats(4, 5)), ("x0",), "no derivative rule for MatMul node 'node' with a vector operand"),
    (
        _row(
            "Resize", (1, 1, 4, 4), _REGION, None, ints(1, 1, 6, 6), coordinate_transformation_mode="tf_crop_and_resize"
        ),
        ("x0",),
        "no derivative rule for Resize node 'node' with a region or a kept aspect ratio",
    ),
    (
        _row("Resize", (2, 1, 2, 2), None, np.array([2, 1, 1, 1], np.float32)),
        ("x0",),
        "no derivative rule for Resize node 'node' over the batch, which K is folded into",
    ),
    (
        _row("Attention", _QUERY, _KEY, _KEY),
        ("x0",),
        r"no rule for Attention node 'node' with query \[2,4,5,6\] and key \[2,2,5,6\]: only scaled dot-product att",
    ),
]


@pytest.mark.parametrize(("row", "wrt", "message"), REFUSED, ids=[str(row) for row, *_ in REFUSED])
def test_form_without_rule_is_refused(row: Row, wrt: tuple[str, ...], message: str) -> None:
    with pytest.raises(MissingRule, match=message):
        jvp(build(row), wrt, "y", num_tangents=K)


def test_axes_computed_at_run_time_are_refused() -> None:
    model = build(_row("ReduceSum", (2, 3), ints(1)))
    axes = model.graph.initializers.pop("x1")
    axes.const_value = None
    model.graph.inputs.append(axes)
    with pytest.raises(MissingRule, match="the derivative of ReduceSum node 'node' needs a constant input 'x1'"):
        jvp(model, ("x0",), "y", num_tangents=K)


def test_further_outputs_of_a_normalization_are_refused() -> None:
    model = build(_row("LayerNormalization", (2, 5), floats(5), outputs=2))
    norm, last = model.graph
    last.replace_input_with(0, norm.outputs[1])
    with pytest.raises(
        MissingRule, match=r"no derivative rule for the mean and deviation that LayerNorm.* also returns"
    ):
        jvp(model, ("x0",), "y", num_tangents=K)


def test_splitting_the_batch_is_refused() -> None:
    model = build(_row("Split", (4, 5), ints(2, 2), outputs=2, axis=0))
    for value in next(iter(model.graph)).outputs:
        value.shape = ir.Shape(["N", 5])
    with pytest.raises(ExportError, match=r"y0 has shape \[N,5\]: from dimension 0 on it must be static"):
        jvp(model, ("x0",), "y", num_tangents=K)


def test_rule_with_a_wrong_dtype_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "Exp", lambda tape, node, x_dot: tape.cast(x_dot, ir.DataType.FLOAT))
    with pytest.raises(
        ExportError, match=r"the rule for Exp node 'node' gave a tangent FLOAT\[3, 2, 5\] of y0, expected DOUBLE"
    ):
        jvp(build(_row("Exp", (2, 5))), ("x0",), "y", num_tangents=K)


def test_rule_with_an_impossible_product_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "Exp", lambda tape, node, x_dot: tape.op("MatMul", x_dot, x_dot))
    with pytest.raises(ExportError, match=r"a rule emitted an invalid MatMul node .* over x0_dot DOUBLE\[3,2,5\]"):
        jvp(build(_row("Exp", (2, 5))), ("x0",), "y", num_tangents=K)


def test_reshape_to_two_symbolic_dimensions_is_refused() -> None:
    model = build(_row("Exp", (2, 5)))
    tape = Tape(model.graph, K)
    with pytest.raises(ExportError, match=r"x0 cannot be reshaped .* more than one dimension is symbolic"):
        tape.reshape(model.graph.inputs[0], ir.SymbolicDim("N"), ir.SymbolicDim("M"))
