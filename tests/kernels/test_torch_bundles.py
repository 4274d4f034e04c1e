"""Whole graphs and whole scans with the torch engine: families and precisions, against ONNX Runtime and float32."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from memscan.export.graphs.storage import save_sharing_weights
from memscan.export.passes.half_precision import Precision
from memscan.kernels.torch_runtime.constants import Constants
from memscan.kernels.torch_runtime.fused_attention import fuse_attention
from memscan.kernels.torch_runtime.graph_file import read_graph
from memscan.kernels.torch_runtime.plan import Plan
from memscan.scanner.cli import invoke
from tests.default_maps import MAPS
from tests.export.graphs.families import FAMILIES, graphs
from tests.kernels.torch_graphs import PARITY, assert_parity, draw, run_onnx_runtime, run_torch

ROUNDED = 180
"""Results of half precision that follow one another on the longest path of a tiny graph: 171 to 187, by family."""

UNIT_ROUNDOFF = {"fp16": 2.0**-11, "bf16": 2.0**-8}

ATTENTIONS = 8
"""In a tiny denoiser: self- and cross-attention in four transformer blocks."""

GRAPHS = (
    "measure.onnx",
    "measure.frozen.onnx",
    "measure.shallow.onnx",
    "step.onnx",
    "observe.onnx",
    "condition.onnx",
)

SaveFamily = Callable[[str, Precision], Path]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> SaveFamily:
    """Writes the denoiser graphs of a family, once, and returns their folder."""
    folders: dict[tuple[str, Precision], Path] = {}

    def save(family: str, precision: Precision) -> Path:
        if (family, precision) not in folders:
            folder = tmp_path_factory.mktemp(f"{family}-{precision}")
            save_sharing_weights({name: model.clone() for name, model in graphs(family, precision).items()}, folder)
            folders[family, precision] = folder
        return folders[family, precision]

    return save


def plan_of(file: Path) -> Plan:
    return Plan(fuse_attention(read_graph(file)), torch.device("cpu"), Constants())


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("family", FAMILIES)
def test_denoiser_graphs_equal_onnx_runtime(family: str, graph: str, saved: SaveFamily) -> None:
    file = saved(family, "fp32") / graph
    feed = draw(file)
    assert_parity(run_torch(plan_of(file), feed), run_onnx_runtime(file, feed))


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize(("family", "precision"), [("sd1", "fp16"), ("sd1", "bf16"), ("sdxl", "bf16")])
def test_half_precision_is_float32_with_its_roundings(
    family: str, precision: Precision, graph: str, saved: SaveFamily
) -> None:
    """Independent roundings of RMS u / sqrt(3) at most add up to sqrt(n / 3) u of the result's own RMS."""
    exact_file, file = saved(family, "fp32") / graph, saved(family, precision) / graph
    feed = draw(file)
    exact, found = run_torch(plan_of(exact_file), feed), run_torch(plan_of(file), feed)
    limit = (ROUNDED / 3) ** 0.5 * UNIT_ROUNDOFF[precision]
    for name, array in exact.items():
        error = np.sqrt(np.mean((found[name] - array) ** 2) / np.mean(array**2))
        assert 0 < error < limit, f"{name}: {error:.2e}, expected at most {limit:.2e}"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_attention_of_a_step_is_fused(precision: Precision, saved: SaveFamily) -> None:
    graph = fuse_attention(read_graph(saved("sd1", precision) / "step.onnx"))
    assert [node.operator for node in graph.nodes].count("Attention") == ATTENTIONS


def test_attention_of_text_encoder_and_vae_is_fused(tiny_bundle: Path) -> None:
    for name, count in {"text_encoder.onnx": 2, "vae_decoder.onnx": 1, "vae_encoder.onnx": 1}.items():
        fused = fuse_attention(read_graph(tiny_bundle / name))
        assert [node.operator for node in fused.nodes].count("Attention") == count, name


@pytest.mark.parametrize("bundle", ["tiny_bundle", "tiny_xl_bundle"])
def test_every_other_graph_of_a_bundle_equals_onnx_runtime(bundle: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(bundle)
    for name in ("text_encoder.onnx", "vae_decoder.onnx", "vae_encoder.onnx"):
        feed = draw(folder / name)
        assert_parity(run_torch(plan_of(folder / name), feed), run_onnx_runtime(folder / name, feed))


def test_a_batch_may_have_any_size(saved: SaveFamily) -> None:
    file = saved("sd1", "fp32") / "measure.onnx"
    plan = plan_of(file)
    for batch in (1, 3, 2):
        feed = draw(file, batch)
        assert_parity(run_torch(plan, feed), run_onnx_runtime(file, feed))


def test_a_scan_by_torch_equals_a_scan_by_onnx_runtime(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text("prompt,seed\na photo of a red cat,1\nthe blue house,2\na dog,3\n")
    for engine in ("torch", "onnxruntime"):
        settings = ["--num-inference-steps", "4", "--step", "1", "--step", "3", "--guidance", "2", "--maps"]
        execution = ["--engine", engine, "--provider", "cpu", "--threads", "1", "--batch-size", "2"]
        out = ["--model", str(tiny_bundle), "--out", str(tmp_path / engine)]
        assert invoke(["run", str(tmp_path / "prompts.csv"), *settings, *execution, *out]) == 0
    found, expected = (maps(tmp_path / engine) for engine in ("torch", "onnxruntime"))
    assert found.keys() == expected.keys()
    assert len(expected) == 3 * 2 * len(MAPS)
    for (row, step, name), values in expected.items():
        # Both terms of a difference h - h' or (eps - eps')^2 err by the parity limit; |eps| stays below 5.
        largest = np.abs(expected[row, step, "h_cond"]).max() if "h" in name else 10 * np.sqrt(values.max())
        # Maps are stored as float16, rounded to 2^-11 of each value or 2^-25.
        np.testing.assert_allclose(
            found[row, step, name],
            values,
            rtol=2**-10,
            atol=2**-24 + 2 * PARITY * largest,
            err_msg=f"{row} {step} {name}",
        )


def maps(out: Path) -> dict[tuple[int, int, str], np.ndarray]:
    """A run's maps, by row, step and name."""
    table = pq.read_table(out / "maps").to_pylist()
    return {
        (row["row"], row["step_index"], row["map"]): np.frombuffer(row["data"], "<f2").astype(np.float64)
        for row in table
    }
