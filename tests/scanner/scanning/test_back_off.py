"""A batch that does not fit into memory is halved and scanned again: nothing is lost, nothing is scanned twice."""

import dataclasses
import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.cli import invoke
from memscan.scanner.errors import OutOfMemory
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.runtimes.onnx_runtime import OnnxRuntime, OnnxValue
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
from memscan.scanner.scanning.scanner import Scanner
from memscan.scanner.settings import Execution
from tests.default_maps import MAPS
from tests.scanner.run.small_run import ROWS, write_manifest
from tests.scanner.scanning.closed_form import SAMPLES, SETTINGS, at_steps, run, scanned
from tests.scanner.scanning.one_by_one import scan_one_by_one


@pytest.fixture
def bundle(analytic: Path) -> Bundle:
    return open_bundle(analytic)


def limit_memory(monkeypatch: pytest.MonkeyPatch, images: int, graph: str = "measure.onnx") -> list[int]:
    """From now on `graph` takes so many images at most; the batches that it was asked for."""
    tried: list[int] = []
    original = OnnxRuntime.run

    def limited(self: OnnxRuntime, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if name == graph:
            tried.append(inputs["sample"].shape[0])
            if tried[-1] > images:
                raise OutOfMemory(f"out of memory in {name} (Failed to allocate memory)")
        return original(self, name, inputs)

    monkeypatch.setattr(OnnxRuntime, "run", limited)
    return tried


@pytest.mark.parametrize("graph", ["step.onnx", "measure.onnx", "baseline/measure.onnx"])
def test_results_are_those_of_a_scan_that_fits(graph: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(bundle, SAMPLES, batch_size=3)
    limit_memory(monkeypatch, 3, graph)
    notes: list[str] = []
    engine = Graphs(bundle, OnnxRuntime(bundle, Execution(threads=1, provider="cpu")))
    ceiling = BatchCeiling(8, notes.append)
    found = scan_one_by_one(Scanner(bundle, engine, SETTINGS, ceiling), SAMPLES)
    assert notes == [
        "8 images at once do not fit into memory: going on with 4",
        "4 images at once do not fit into memory: going on with 2",
    ]
    assert ceiling.size == 2
    assert [scanned(image).sample for image in found] == SAMPLES
    for one, other in zip(found, expected, strict=True):
        for first, second in zip(scanned(one).steps, scanned(other).steps, strict=True):
            for name in MAPS:  # a row's numbers do not depend on its batch beyond float32 rounding
                np.testing.assert_allclose(first.maps[name], second.maps[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("graph", ["step.onnx", "measure.onnx", "baseline/measure.onnx"])
def test_nothing_of_a_batch_that_did_not_fit_stays_on_the_device(
    graph: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_many = 7  # no other axis of this model is 7 long
    left: list[list[tuple[int, ...]]] = []
    late = dataclasses.replace(SETTINGS, steps=at_steps(9))  # a trajectory comes first
    limit_memory(monkeypatch, too_many - 1, graph)
    limited = OnnxRuntime.run

    def watched(self: OnnxRuntime, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if not left and "sample" in inputs and inputs["sample"].shape[0] < too_many:
            gc.collect()
            shapes = [value.shape for value in gc.get_objects() if type(value) is OnnxValue]
            left.append([shape for shape in shapes if too_many in shape and len(shape) > 1])
        return limited(self, name, inputs)

    monkeypatch.setattr(OnnxRuntime, "run", watched)
    engine = Graphs(bundle, OnnxRuntime(bundle, Execution(threads=1, provider="cpu")))
    ceiling = BatchCeiling(too_many, lambda line: None)
    scan_one_by_one(Scanner(bundle, engine, late, ceiling), SAMPLES[:too_many])
    assert ceiling.size == too_many // 2
    assert left == [[]]


def test_a_short_batch_that_does_not_fit_is_halved_from_its_own_size(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = limit_memory(monkeypatch, 2, "step.onnx")
    engine = Graphs(bundle, OnnxRuntime(bundle, Execution(threads=1, provider="cpu")))
    ceiling = BatchCeiling(64, lambda line: None)
    scan_one_by_one(Scanner(bundle, engine, SETTINGS, ceiling), SAMPLES[:5])
    assert tried[:3] == [5, 2, 2]
    assert ceiling.size == 2


def test_the_ceiling_is_remembered_for_all_parts_of_a_run(
    analytic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ROWS)
    arguments = ["run", str(manifest), "--model", str(analytic), "--part-rows", "3", "--threads", "1"]
    assert invoke([*arguments, "--out", str(tmp_path / "whole")]) == 3
    limit_memory(monkeypatch, 1)
    capsys.readouterr()
    assert invoke([*arguments, "--out", str(tmp_path / "short"), "--batch-size", "3"]) == 3
    noted = [line for line in capsys.readouterr().err.splitlines() if "at once" in line]
    assert noted == ["memscan: 3 images at once do not fit into memory: going on with 1"]
    whole, short = (pq.read_table(tmp_path / out / "results") for out in ("whole", "short"))
    for name in ("row", "seed", "step_index", "status", "error"):
        assert short[name].to_pylist() == whole[name].to_pylist()


def test_an_image_that_does_not_fit_alone_ends_the_run(
    analytic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit_memory(monkeypatch, 0)
    arguments = ["run", "--prompt", "a city", "--model", str(analytic), "--out", str(tmp_path / "out")]
    assert invoke(arguments) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "memscan: error: not even one image at a time fits: out of memory in measure.onnx (Failed to allocate memory)"
    )
    monkeypatch.undo()
    assert invoke(arguments) == 0
