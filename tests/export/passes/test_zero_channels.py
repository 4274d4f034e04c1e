"""Zero channels of tangents: what is convolved, counted by operations, and that values stay."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from memscan.export.autodiff.cut import Cut, MarkCut, UnmarkCut
from memscan.export.autodiff.jvp import jvp
from memscan.export.graphs.flops import forward_passes, graph_flops
from memscan.export.graphs.trace import OPSET
from memscan.export.nodes.emitter import Emitter
from memscan.export.passes.zero_channels import SkipZeroChannels
from tests.export.autodiff.rule_row import floats
from tests.export.graphs.families import TANGENTS, graphs

K, SIZE = 2, 4
DOUBLE = ir.DataType.DOUBLE


def joined(moving: tuple[bool, ...], *, group: int = 1, spread: bool = False) -> ir.Model:
    """Parts of two channels, of x where they move and of c elsewhere -> normalized, scaled -> convolved.

    `spread` lets the convolution read a mean over channels instead, in which no channel is zero any more.
    """
    x, c = (ir.val(name, DOUBLE, ["N", 2, SIZE, SIZE]) for name in "xc")
    graph = ir.Graph([x, c], [], nodes=[], opset_imports={"": OPSET}, name="joined")
    emitter = Emitter(graph)
    channels = 2 * len(moving)
    with emitter.scope("node"):
        parts = [emitter.op("Exp", x if moves else c) for moves in moving]
        parts = [emitter.op("Mul", part, emitter.scalar(1 + index, part)) for index, part in enumerate(parts)]
        cat = emitter.op("Concat", *parts, axis=1)
        scale, shift = (emitter.constant(floats(channels) + extra) for extra in (1, 0))
        norm = emitter.op("InstanceNormalization", cat, scale, shift)
        factor = emitter.constant(floats(1, channels, 1, 1))
        y = emitter.op("Mul", emitter.op("Mul", norm, emitter.op("Sigmoid", norm)), factor)
        if spread:
            y = emitter.op("Add", y, emitter.op("ReduceMean", y, emitter.ints(1)))
        weight = emitter.constant(floats(4, channels // group, 3, 3))
        y = emitter.op("Conv", y, weight, pads=[1, 1, 1, 1], group=group)
    y.name = "y"
    graph.outputs.append(y)
    return ir.Model(graph, ir_version=10)


def differentiated(model: ir.Model) -> ir.Model:
    MarkCut(Cut(hold_statistics=True), "x")(model)
    model = jvp(model, ("x",), "y", num_tangents=K)
    UnmarkCut()(model)
    return model


def widths(model: ir.Model) -> list[int]:
    """Input channels of the convolutions: of the primal, and of its tangents."""
    return [node.inputs[1].shape[1] for node in model.graph if node.op_type == "Conv"]


def evaluate(model: ir.Model) -> np.ndarray:
    rng = np.random.default_rng(0)
    feed = {name: rng.normal(size=(3, 2, SIZE, SIZE)) for name in "xc"}
    feed["x_dot"] = rng.normal(size=(K, 3, 2, SIZE, SIZE))
    return np.asarray(ReferenceEvaluator(ir.to_proto(model)).run(["y_dot"], feed)[0])


@pytest.mark.parametrize(
    ("moving", "width"),
    [
        ((False, True), 2),
        ((True, False), 2),
        ((False, True, False), 2),
        ((False, True, True), 4),
        ((True, False, True), 6),
        ((True, True), 4),
    ],
    ids=["before", "behind", "around", "two-left", "between", "none"],
)
def test_only_channels_that_move_are_convolved(moving: tuple[bool, ...], width: int) -> None:
    model = differentiated(joined(moving))
    expected = evaluate(model)
    assert SkipZeroChannels()(model).modified == (width < 2 * len(moving))
    assert widths(model) == [2 * len(moving), width]
    np.testing.assert_allclose(evaluate(model), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("options", [{"group": 2}, {"spread": True}], ids=["groups", "no-zeros"])
def test_what_cannot_be_narrowed_is_left_alone(options: dict[str, Any]) -> None:
    model = differentiated(joined((False, True), **options))
    before = widths(model)
    assert not SkipZeroChannels()(model).modified
    assert widths(model) == before


def test_a_shallow_tangent_costs_the_convolutions_that_it_goes_through(tmp_path: Path) -> None:
    """Of the tiny SD 1: input, output, and three residual blocks at 8 x 8; the skip path of the first one up is 16 of
    48 channels, since what comes from below has no tangent."""
    three_by_three = [(4, 16), (16, 16), (16, 16), (16, 16), (16, 16), (32, 16), (16, 16), (16, 4)]
    one_by_one = [(16, 16), (32, 16)]
    a_tangent = 2 * 64 * (9 * sum(a * b for a, b in three_by_three) + sum(a * b for a, b in one_by_one))
    for name, model in graphs("sd1").items():
        ir.save(model, tmp_path / name)
    forward = graph_flops(tmp_path / "step.onnx", batch=1) / 2
    assert graph_flops(tmp_path / "measure.shallow.onnx", batch=1) == forward + TANGENTS * a_tangent
    passes = forward_passes(tmp_path)
    assert passes["shallow"] == 1 + TANGENTS * a_tangent / forward
    assert 1 < passes["shallow"] < passes["frozen"] < 1 + TANGENTS < passes["exact"]
