"""The parts of the GPU benchmark that a CPU can run: counting, timing, rows of tables, and its refusal."""

from pathlib import Path

import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import helper

from benchmarks import gpu
from benchmarks.device_memory import PeakMemory
from benchmarks.gpu import Cost, graph_cost, graph_row, matrix_product_peak, median_seconds, scan_row
from benchmarks.scan_rate import images_per_second
from memscan.export.graphs.flops import graph_flops
from memscan.kernels.torch_runtime import TorchRuntime
from memscan.scanner.run.request import Request
from memscan.scanner.settings import Execution
from tests.analytic_bundle import write_analytic_bundle
from tests.kernels.lowering_rows import Row, floats
from tests.kernels.torch_graphs import model, single_node

CPU = Execution(2, threads=1, provider="cpu", engine="torch")


@pytest.mark.parametrize(
    ("row", "operations"),
    [
        (Row("MatMul", ((2, 3, 4), floats(4, 5))), 2 * (2 * 3) * 4 * 5),
        (Row("Conv", ((2, 3, 6, 6), floats(4, 3, 3, 3)), {"pads": [1, 1, 1, 1]}), 2 * (2 * 6 * 6) * 4 * (3 * 3 * 3)),
        (Row("Attention", ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 4))), 2 * 2 * (2 * 3) * 5 * 7 * 4),
        (Row("Exp", ((2, 3),)), 0),
    ],
    ids=lambda value: str(value),
)
def test_operations_are_counted_by_shape(row: Row, operations: int, tmp_path: Path) -> None:
    proto, feed = single_node(row)
    for value in proto.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, feed[value.name].shape, strict=True):
            dim.dim_value = size
    onnx.save(proto, tmp_path / "graph.onnx")
    assert graph_flops(tmp_path / "graph.onnx", batch=1) == operations


@pytest.mark.parametrize(
    ("operator", "tangents", "each"),
    [("AttentionJvp", "qkv", 4), ("AttentionQueryJvp", "q", 2), ("AttentionValueJvp", "v", 1)],
)
def test_a_tangent_of_attention_takes_four_products_or_fewer(
    operator: str, tangents: str, each: int, tmp_path: Path
) -> None:
    count, shape = 3, (2, 3, 5, 4)
    feed = {name: floats(*shape) for name in "qkv"} | {f"{name}_dot": floats(count, *shape) for name in tangents}
    node = helper.make_node(operator, list(feed), ["y", "y_dot"], domain="memscan", scale=0.5)
    proto = model([node], feed, ["y", "y_dot"])
    for value in proto.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, feed[value.name].shape, strict=True):
            dim.dim_value = size
    onnx.save(proto, tmp_path / "graph.onnx")
    product = 2 * (2 * 3) * 5 * 5 * 4
    assert graph_flops(tmp_path / "graph.onnx", batch=1) == (2 + each * count) * product


def test_the_device_is_at_rest_before_and_after_every_run() -> None:
    log: list[str] = []
    median_seconds(lambda: log.append("run"), 2, lambda: log.append("wait"))
    assert log == ["wait", "run", "wait"] * (gpu.WARM_UP + 2)


def test_graphs_of_a_bundle_are_timed_and_counted(tmp_path: Path) -> None:
    bundle = write_analytic_bundle(tmp_path / "analytic")
    runtime = TorchRuntime(bundle, CPU)
    costs = [graph_cost(runtime, bundle, "measure.onnx", batch, 1, lambda: None) for batch in (1, 3)]
    assert all(cost.seconds > 0 for cost in costs)
    assert costs[1].flops == 3 * costs[0].flops > 0


def test_rate_of_a_scan(tmp_path: Path) -> None:
    bundle = write_analytic_bundle(tmp_path / "analytic")
    assert images_per_second(bundle, ["cat", "dog"], Request(), CPU) > 0


def test_peak_of_a_matrix_product() -> None:
    assert matrix_product_peak("cpu", torch.float32, 8, lambda: None) > 0


def test_row_of_a_graph() -> None:
    row = graph_row("torch", 8, Cost(0.5, 10**14), Cost(2.0, 6 * 10**14), 1e15, 3 * 2**30)
    assert row == ("| torch | 8 | 0.5000 s, 200.0 TFLOP/s, 20% | 2.0000 s, 300.0 TFLOP/s, 30% | 8.00 | 3.0 GiB |")


def test_row_of_a_scan_beside_torch_and_alone() -> None:
    found = {
        ("torch, fair", 8): 0.5,
        ("torch, as published", 1): 0.1,
        ("memscan, torch", 8): 2.0,
        ("memscan, torch", 1): 1,
    }
    assert scan_row("memscan, torch", 8, found, 2**30) == "| memscan, torch | 8 | 2.000 | 4.00x | 20.00x | 1.0 GiB |"
    assert scan_row("memscan, torch", 1, found, 0) == "| memscan, torch | 1 | 1.000 |  | 10.00x | 0.0 GiB |"


def test_peak_memory_is_the_most_beyond_what_was_before() -> None:
    readings = iter([100, 140, 500, 130])
    last = [0]

    def used() -> int:
        last[0] = next(readings, last[0])
        return last[0]

    with PeakMemory(used) as memory:
        while last[0] != 130:
            pass
    assert memory.bytes == 400


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    result = CliRunner().invoke(gpu.main, [])
    assert result.exit_code == 1
    assert str(result.output).strip() == f"benchmarks.gpu needs a CUDA device, and torch {torch.__version__} finds none"
