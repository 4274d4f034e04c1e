"""Attention in the torch engine: the written-out form found and fused, and attention with tangents taken in slices."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from memscan.kernels.jvp_attention.reference import jvp_attention
from memscan.kernels.torch_runtime import sliced_attention, value_attention
from memscan.kernels.torch_runtime.constants import Constants
from memscan.kernels.torch_runtime.fused_attention import fuse_attention
from memscan.kernels.torch_runtime.graph_file import read_graph
from memscan.kernels.torch_runtime.plan import Plan
from tests.kernels.torch_graphs import model, run_onnx_runtime, run_torch

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}
"""Softmax sums of 7 and products of 4 numbers near 1, in float32 and another order."""

SHAPES = {"q": (2, 3, 5, 4), "k": (2, 3, 7, 4), "v": (2, 3, 7, 6)}


@dataclasses.dataclass(frozen=True)
class Form:
    """A way in which attention may be written out."""

    masked: bool = False
    converted: bool = False
    perm: Sequence[int] = (0, 1, 3, 2)
    axis: int = -1
    scale: float | Sequence[float] = 0.3
    fill: float = -np.inf
    outputs: Sequence[str] = ("y",)


def written_out_attention(form: Form, file: Path) -> dict[str, np.ndarray]:
    """Write softmax(scale q k^T) v to `file`; returns what to feed it."""
    generator = np.random.default_rng(0)
    feed = {name: generator.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    feed["k"] = feed["k"].swapaxes(2, 3).transpose(np.argsort(form.perm)).copy()
    constants = {
        "scale": np.array(form.scale, np.float32),
        "mask": np.tril(np.ones((5, 7), bool)),
        "fill": np.array(form.fill, np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["q", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["k"], ["keys"], perm=form.perm),
        helper.make_node("MatMul", ["scaled", "keys"], ["scores"]),
    ]
    last = "scores"
    if form.masked:
        nodes.append(helper.make_node("Where", ["mask", last, "fill"], ["masked"]))
        last = "masked"
    if form.converted:
        nodes.append(helper.make_node("Cast", [last], ["wide"], to=11))
        last = "wide"
    nodes.append(helper.make_node("Softmax", [last], ["p"], axis=form.axis))
    last = "p"
    if form.converted:
        nodes.append(helper.make_node("Cast", [last], ["narrow"], to=1))
        last = "narrow"
    nodes.append(helper.make_node("MatMul", [last, "v"], ["y"]))
    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    onnx.save(model(nodes, feed, list(form.outputs), stored), file)
    return feed


@pytest.mark.parametrize(
    "form",
    [Form(), Form(masked=True), Form(converted=True), Form(masked=True, converted=True)],
    ids=["unmasked", "masked", "converted", "masked-converted"],
)
def test_written_out_attention_is_fused_and_equals_onnx_runtime(form: Form, tmp_path: Path) -> None:
    file = tmp_path / "attention.onnx"
    feed = written_out_attention(form, file)
    plan = Plan(fuse_attention(read_graph(file)), torch.device("cpu"), Constants())
    assert len(plan.steps) == 1
    np.testing.assert_allclose(run_torch(plan, feed)["y"], run_onnx_runtime(file, feed)["y"], **TOLERANCE)


@pytest.mark.parametrize(
    "form",
    [
        Form(outputs=("y", "p")),
        Form(outputs=("y", "scores")),
        Form(axis=2),
        Form(perm=(0, 3, 1, 2)),
        Form(scale=(1.0, 2.0, 3.0, 4.0)),
        Form(masked=True, fill=-3.0),
    ],
    ids=["probabilities-wanted", "scores-wanted", "other-axis", "other-order", "no-one-scale", "no-mask"],
)
def test_what_is_not_attention_is_left_alone(form: Form, tmp_path: Path) -> None:
    file = tmp_path / "other.onnx"
    feed = written_out_attention(form, file)
    graph = fuse_attention(read_graph(file))
    assert [node.operator for node in graph.nodes] == [node.operator for node in read_graph(file).nodes]
    found, expected = run_torch(Plan(graph, torch.device("cpu"), Constants()), feed), run_onnx_runtime(file, feed)
    for name in form.outputs:
        np.testing.assert_allclose(found[name], expected[name], **TOLERANCE)


def operands(dtype: torch.dtype) -> list[torch.Tensor]:
    """q, k, v and tangents of each, for K = 2."""
    generator = torch.Generator().manual_seed(0)
    primals = [torch.randn(2, 3, *shape[2:], generator=generator) for shape in SHAPES.values()]
    tangents = [torch.randn(2, *primal.shape, generator=generator) for primal in primals]
    return [tensor.to(dtype) for tensor in (*primals, *tangents)]


@pytest.mark.parametrize("scores", [1, 28, 100, 2**20], ids=["row-by-row", "two-rows", "odd-rows", "at-once"])
@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
def test_slices_give_what_the_whole_gives(scores: int, cross: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sliced_attention, "_SCORES", scores)
    q, k, v, q_dot, *kv_dots = operands(torch.float32)
    k_dot, v_dot = (None, None) if cross else kv_dots
    found = sliced_attention.attention_with_tangents(q, k, v, q_dot, k_dot, v_dot, scale=0.3)
    expected = jvp_attention(q, k, v, q_dot, k_dot, v_dot, scale=0.3)
    for part, whole in zip(found, expected, strict=True):
        torch.testing.assert_close(part, whole, **TOLERANCE)


@pytest.mark.parametrize("scores", [1, 28, 100, 2**20])
def test_no_slice_has_more_scores_than_it_may(scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = []

    def watched(q: torch.Tensor, k: torch.Tensor, *others: torch.Tensor, scale: float) -> tuple[torch.Tensor, ...]:
        largest.append(len(others[1]) * q.shape[:-1].numel() * k.shape[-2])
        return jvp_attention(q, k, *others, scale=scale)

    monkeypatch.setattr(sliced_attention, "_SCORES", scores)
    monkeypatch.setattr(sliced_attention, "jvp_attention", watched)
    sliced_attention.attention_with_tangents(*operands(torch.float32), scale=0.3)
    one_row = 2 * 7
    assert max(largest) <= max(scores, one_row)


def test_half_precision_is_computed_in_float32_and_rounded_once() -> None:
    halves = operands(torch.bfloat16)
    found = sliced_attention.attention_with_tangents(*halves, scale=0.3)
    expected = jvp_attention(*(tensor.float() for tensor in halves), scale=0.3)
    for part, whole in zip(found, expected, strict=True):
        assert part.dtype == torch.bfloat16
        assert torch.equal(part, whole.bfloat16())


@pytest.mark.parametrize("scores", [1, 100, 2**20], ids=["row-by-row", "odd-rows", "at-once"])
def test_attention_of_values_in_slices_equals_the_reference(scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_attention, "_SCORES", scores)
    q, k, v, _, _, v_dot = operands(torch.float32)
    found = value_attention.attention_of_values(q, k, v, v_dot, scale=0.3)
    for part, whole in zip(found, jvp_attention(q, k, v, None, None, v_dot, scale=0.3), strict=True):
        assert whole is not None
        torch.testing.assert_close(part, whole, **TOLERANCE)


def test_attention_of_values_by_the_fused_kernel_equals_the_reference() -> None:
    """The form that CUDA runs, on the CPU."""
    q, k, v, _, _, v_dot = operands(torch.float32)
    folded = value_attention._folded(q, k, torch.cat([v[None], v_dot]), 0.3)
    y, y_dot = jvp_attention(q, k, v, None, None, v_dot, scale=0.3)
    assert y_dot is not None
    torch.testing.assert_close(folded, torch.cat([y[None], y_dot]), **TOLERANCE)


def test_attention_of_values_in_half_precision_is_computed_in_float32_and_rounded_once() -> None:
    q, k, v, _, _, v_dot = operands(torch.bfloat16)
    found = value_attention.attention_of_values(q, k, v, v_dot, scale=0.3)
    expected = value_attention.attention_of_values(*(x.float() for x in (q, k, v, v_dot)), scale=0.3)
    for part, whole in zip(found, expected, strict=True):
        assert part.dtype == torch.bfloat16
        assert torch.equal(part, whole.bfloat16())
