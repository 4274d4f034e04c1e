"""The pass that slices attention: what it replaces, what it leaves, and that graphs keep their values."""

import math

import numpy as np
import onnx_ir as ir
import pytest
import torch

from memscan.export.attention import forward as attention_forward
from memscan.export.attention import slices as attention_slices
from memscan.export.autodiff.jvp import jvp
from memscan.export.graphs.graphs import denoiser_graphs
from memscan.export.passes import sliced_attention
from memscan.export.passes.sliced_attention import MIN_SCORES, SliceAttention
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from tests.export.autodiff.rule_row import Row
from tests.export.autodiff.single_node import build, draw, evaluate
from tests.export.graphs.families import TANGENTS, traced

K, H, SIZE = 3, 2, 8


def attention(batch: int, queries: int, keys: int) -> Row:
    shapes = ((batch, H, queries, SIZE), (batch, H, keys, SIZE), (batch, H, keys, SIZE))
    return Row("Attention", shapes, torch.clone, {"scale": 0.25, "softcap": 0.0})


@pytest.mark.parametrize("with_tangents", [False, True], ids=["forward", "jvp"])
def test_large_attention_is_sliced_and_small_is_left(with_tangents: bool) -> None:
    folds = K if with_tangents else 1
    large = math.isqrt(MIN_SCORES // (folds * H)) + 1
    for length, sliced in ((large, True), (large // 2, False)):
        model = build(attention(2, length, length))
        if with_tangents:
            model = jvp(model, ("x0", "x1"), "y", num_tangents=K)
        before = _attentions(model)
        assert SliceAttention()(model).modified == sliced
        name = "AttentionJvp" if with_tangents else "Attention"
        shape = f"K{K * with_tangents}_H{H}_M{length}_S{length}_D{SIZE}_Dv{SIZE}"
        assert _attentions(model) == ([("memscan", name, shape)] if sliced else before)
        assert list(model.functions) == [called for called in _attentions(model) if called[0] == "memscan"]


@pytest.mark.parametrize("lengths", [(16, 16), (9, 77), (15, 21)], ids=["self", "cross", "odd"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("rows", [5, 512], ids=["blocks", "whole"])
def test_forward_in_slices_keeps_values(
    lengths: tuple[int, int], batch: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sliced_attention, "MIN_SCORES", 1)
    monkeypatch.setattr(attention_forward, "MAX_ROWS", rows)
    row = attention(batch, *lengths)
    point, _ = draw(row, 1)
    model = build(row)
    sliced = model.clone()
    SliceAttention()(sliced)
    assert next(iter(sliced.graph)).domain == "memscan"
    np.testing.assert_allclose(evaluate(sliced, point, "y"), evaluate(model, point, "y"), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_sliced_graphs_equal_the_whole_ones_at_any_batch(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 8 rows and 4 keys, a loop over tangents: every Scan there is, in whole graphs with a symbolic batch."""
    monkeypatch.setattr(sliced_attention, "MIN_SCORES", 1)
    monkeypatch.setattr(attention_forward, "MAX_ROWS", 8)
    for limit, value in {"MAX_ROWS": 8, "MAX_KEYS": 4, "MAX_TOGETHER": 0}.items():
        monkeypatch.setattr(attention_slices, limit, value)
    graphs = denoiser_graphs(traced(family), tangents=TANGENTS)
    names = ("measure", "measure.frozen", "measure.shallow", "step")
    compared_with_torch = ("observe", "condition")  # sliced or not, where they are tested
    assert set(graphs) == {f"{name}{kind}.onnx" for name in names + compared_with_torch for kind in ("", ".sliced")}
    for name in names:
        whole, sliced = (_session(graphs[f"{name}{kind}.onnx"]) for kind in ("", ".sliced"))
        for batch in (1, 3):
            feed = {value.name: _random(value, batch) for value in whole.get_inputs()}
            for found, expected in zip(sliced.run(None, feed), whole.run(None, feed), strict=True):
                assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 5e-6


def _attentions(model: ir.Model) -> list[ir.OperatorIdentifier]:
    return [node.op_identifier() for node in model.graph if "Attention" in node.op_type]


def _session(model: ir.Model) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])


def _random(value: onnxruntime.NodeArg, batch: int) -> np.ndarray:
    shape = [size if isinstance(size, int) else batch for size in value.shape]
    if value.type == "tensor(int64)":
        return np.full(shape, 401)
    return np.random.default_rng(0).standard_normal(shape, np.float32)
