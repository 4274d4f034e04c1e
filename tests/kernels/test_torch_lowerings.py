"""Every lowering of the torch engine against ONNX Runtime, and what it refuses."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from memscan.kernels.torch_runtime.constants import Constants
from memscan.kernels.torch_runtime.graph_file import read_graph
from memscan.kernels.torch_runtime.lowerings import LOWERINGS
from memscan.kernels.torch_runtime.plan import Plan
from memscan.scanner.errors import BundleError
from tests.kernels.lowering_rows import REFUSED, ROWS, Row
from tests.kernels.torch_graphs import OPSET, plan_of, run_onnx_runtime, run_torch, single_node

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}
"""float32 functions that are right to a few units in the last place of 6e-8, and sums of fewer than 50 terms near 1."""

WITH_TANGENTS = {"memscan::AttentionJvp", "memscan::AttentionQueryJvp", "memscan::AttentionValueJvp"}
"""Tested in test_torch_attention.py."""


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_lowering_equals_onnx_runtime(row: Row, tmp_path: Path) -> None:
    model, feed = single_node(row)
    onnx.save(model, tmp_path / "node.onnx")
    expected = run_onnx_runtime(tmp_path / "node.onnx", feed)
    found = run_torch(plan_of(tmp_path / "node.onnx"), feed)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_allclose(found[name], array, **TOLERANCE)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_no_lowering_reads_numbers_on_the_device(row: Row, tmp_path: Path) -> None:
    """torch's meta device has shapes and dtypes but no numbers: whoever asks it for one fails."""
    model, feed = single_node(row)
    onnx.save(model, tmp_path / "node.onnx")
    expected = run_torch(plan_of(tmp_path / "node.onnx"), feed)
    plan = Plan(read_graph(tmp_path / "node.onnx"), torch.device("meta"), Constants())
    found = plan.run({name: torch.from_numpy(array).to("meta") for name, array in feed.items()})
    for name, array in expected.items():
        assert found[name].is_meta
        assert (found[name].dtype, found[name].shape) == (torch.from_numpy(array).dtype, array.shape)


@pytest.mark.parametrize(("row", "words"), REFUSED, ids=str)
def test_what_no_lowering_was_written_for_is_refused(row: Row, words: str, tmp_path: Path) -> None:
    model, feed = single_node(row)
    onnx.save(model, tmp_path / "node.onnx")
    with pytest.raises(BundleError) as caught:
        run_torch(plan_of(tmp_path / "node.onnx"), feed)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("operator", sorted(set(LOWERINGS) - WITH_TANGENTS))
def test_every_attribute_is_left_to_its_default_in_a_row_and_stated_in_another(operator: str) -> None:
    rows = [row for row in ROWS if row.op == operator]
    stating = rows + [row for row, _ in REFUSED if row.op == operator]
    for name, attribute in onnx.defs.get_schema(operator, OPSET).attributes.items():
        assert attribute.required or any(name not in row.attributes for row in rows), f"{name} is never left out"
        assert any(name in row.attributes for row in stating), f"{name} is never stated"


def test_every_lowering_has_a_row() -> None:
    assert set(LOWERINGS) == {row.op for row in ROWS} | WITH_TANGENTS
