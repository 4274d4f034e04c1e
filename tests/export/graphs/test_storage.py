"""Graphs on disk: shared weights, float16 storage, external files."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from memscan.export.graphs import storage
from memscan.export.graphs.storage import save_graph, save_sharing_weights
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime

WEIGHT = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
SHIFT = np.linspace(0, 1, 512, dtype=np.float32)


def product(weight: ir.TensorProtocol, operator: str = "MatMul") -> ir.Model:
    """x @ w, or another binary operator."""
    x = ir.val("x", ir.DataType.FLOAT, ["N", 32])
    w = ir.val("w", const_value=weight)
    node = ir.node(operator, [x, w])
    (y,) = node.outputs
    y.name, y.dtype, y.shape = "y", ir.DataType.FLOAT, ir.Shape(["N", 32])
    graph = ir.Graph([x], [y], nodes=[node], initializers=[w], opset_imports={"": 23}, name="product")
    return ir.Model(graph, ir_version=10)


def evaluate(file: Path, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize("copied", [False, True], ids=["one tensor", "equal tensors"])
def test_two_graphs_share_one_weight_file(copied: bool, tmp_path: Path) -> None:
    weight = ir.tensor(WEIGHT, name="w")
    other = ir.tensor(WEIGHT.copy(), name="w") if copied else weight
    save_sharing_weights({"a.onnx": product(weight), "b.onnx": product(other, "MatMul")}, tmp_path)
    assert (tmp_path / "weights.bin").stat().st_size == WEIGHT.nbytes
    x = np.eye(32, dtype=np.float32)
    for name in ("a.onnx", "b.onnx"):
        (initializer,) = onnx.load(tmp_path / name, load_external_data=False).graph.initializer
        assert {entry.key: entry.value for entry in initializer.external_data}["location"] == "weights.bin"
        np.testing.assert_array_equal(evaluate(tmp_path / name, x), WEIGHT)


def test_different_weights_of_one_name_are_caught(tmp_path: Path) -> None:
    graphs = {"a.onnx": product(ir.tensor(WEIGHT, name="w")), "b.onnx": product(ir.tensor(2 * WEIGHT, name="w"))}
    with pytest.raises(AssertionError, match="different weights called w"):
        save_sharing_weights(graphs, tmp_path)


def test_float16_storage_halves_the_file_and_rounds_matrices_once(tmp_path: Path) -> None:
    save_sharing_weights({"a.onnx": product(ir.tensor(WEIGHT, name="w"))}, tmp_path, "float16")
    assert (tmp_path / "weights.bin").stat().st_size == WEIGHT.nbytes // 2
    found = evaluate(tmp_path / "a.onnx", np.eye(32, dtype=np.float32))
    np.testing.assert_array_equal(found, WEIGHT.astype(np.float16).astype(np.float32))


def test_float16_storage_leaves_vectors_alone(tmp_path: Path) -> None:
    table = ir.tensor(SHIFT, name="w")
    x = ir.val("x", ir.DataType.INT64, ["N"])
    w = ir.val("w", const_value=table)
    node = ir.node("Gather", [w, x])
    (y,) = node.outputs
    y.name, y.dtype, y.shape = "y", ir.DataType.FLOAT, ir.Shape(["N"])
    graph = ir.Graph([x], [y], nodes=[node], initializers=[w], opset_imports={"": 23}, name="table")
    save_graph(ir.Model(graph, ir_version=10), tmp_path / "table.onnx", "float16")
    np.testing.assert_array_equal(evaluate(tmp_path / "table.onnx", np.arange(512)), SHIFT)


def test_large_graphs_keep_their_weights_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_EMBED_UP_TO_BYTES", 1000)
    save_graph(product(ir.tensor(WEIGHT, name="w")), tmp_path / "big.onnx")
    assert (tmp_path / "big.bin").stat().st_size == WEIGHT.nbytes
    np.testing.assert_array_equal(evaluate(tmp_path / "big.onnx", np.eye(32, dtype=np.float32)), WEIGHT)
