"""`memscan build` as its users meet it."""

import re
from pathlib import Path

import pytest

from memscan.scanner.bundle import open_bundle
from memscan.scanner.cli import invoke
from memscan.scanner.runtimes.tensorrt.cache import PlanCache
from memscan.scanner.runtimes.tensorrt.flavour import load_flavour
from memscan.scanner.runtimes.tensorrt.interface import Interface
from memscan.scanner.runtimes.tensorrt.key import PlanKey, graph_digest, plan_graphs
from tests.analytic_bundle import write_analytic_bundle
from tests.scanner.runtimes.tensorrt.fake_tensorrt import FakeTensorRt

AHEAD = ("--engine", "tensorrt-rtx", "--compute-capability", "8.6")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "plans"


def build(*arguments: object, code: int = 0) -> None:
    assert invoke(["build", *map(str, arguments)]) == code


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What was printed of each graph: "found" or "built"."""
    lines = (re.fullmatch(r"(\S+): (built|found).*, [\d.]+ MiB", line) for line in capsys.readouterr().out.splitlines())
    return dict(line.groups() for line in lines)


def test_all_plans_are_built_once_and_listed(
    analytic: Path, folder: Path, trt: FakeTensorRt, capsys: pytest.CaptureFixture[str]
) -> None:
    build(analytic, "--batch-size", 3, "--cache", folder)
    out, err = capsys.readouterr()
    graphs = plan_graphs(open_bundle(analytic), "exact")
    assert len(graphs) == 6
    assert [line.partition(":")[0] for line in out.splitlines()] == graphs
    assert all(re.search(r": built in \d s, 0\.0 MiB$", line) for line in out.splitlines())
    assert err.splitlines() == [
        *(
            f"memscan: building {graph} with TensorRT 10.13.3 for Fake GPU, batches up to 3: this is done once, and "
            "may take minutes"
            for graph in graphs
        ),
        f"memscan: plans are in {folder}",
    ]
    build(analytic, "--batch-size", 2, "--cache", folder)
    assert set(listed(capsys).values()) == {"found"}
    assert len(trt.built) == 6
    build(analytic, "--batch-size", 3, "--derivative", "shallow", "--cache", folder)
    built = [graph for graph, how in listed(capsys).items() if how == "built"]
    assert built == ["baseline/measure.shallow.onnx", "measure.shallow.onnx"]


def test_a_run_finds_what_was_built(analytic: Path, folder: Path, trt: FakeTensorRt, tmp_path: Path) -> None:
    build(analytic, "--cache", folder)
    built = len(trt.built)
    arguments = ["--prompt", "a city", "--model", analytic, "--engine", "tensorrt", "--cache", folder]
    assert invoke(["run", *map(str, arguments), "--out", str(tmp_path / "out")]) == 0
    assert len(trt.built) == built


@pytest.mark.parametrize("damage", [b"", b"another plan"], ids=["truncated", "altered"])
def test_a_damaged_plan_is_built_again(
    analytic: Path, folder: Path, trt: FakeTensorRt, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    build(analytic, "--cache", folder)
    bundle = open_bundle(analytic)
    key = PlanKey("tensorrt", "10.13.3", "Fake GPU", ("8.6",), 8, graph_digest(bundle, "step.onnx"))
    (folder / f"{key.digest()}.plan").write_bytes(damage)
    capsys.readouterr()
    build(analytic, "--cache", folder)
    assert {graph for graph, how in listed(capsys).items() if how == "built"} == {"step.onnx"}


def test_an_altered_bundle_gets_plans_of_its_own(tmp_path: Path, folder: Path, trt: FakeTensorRt) -> None:
    for tangents in (4, 2):
        write_analytic_bundle(tmp_path / str(tangents), tangents_per_call=tangents)
        build(tmp_path / str(tangents), "--cache", folder)
    assert trt.built[6:] == [str(tmp_path / "2" / graph) for graph in ("baseline/measure.onnx", "measure.onnx")]


def test_a_plan_that_another_process_builds_is_waited_for_and_used(
    analytic: Path, folder: Path, trt: FakeTensorRt, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other one is played by a cache that stores the plan while this one waits for the lock."""
    build(analytic, "--cache", folder)
    built = len(trt.built)
    plans = {file: file.read_bytes() for file in folder.iterdir()}
    for file in plans:
        file.unlink()
    original = PlanCache.locked

    def locked(cache: PlanCache, name: str, on_wait=lambda: None):
        on_wait()
        for file, content in plans.items():
            file.write_bytes(content)
        return original(cache, name, on_wait)

    monkeypatch.setattr(PlanCache, "locked", locked)
    capsys.readouterr()
    build(analytic, "--cache", folder)
    assert len(trt.built) == built
    assert capsys.readouterr().err.splitlines()[0] == (
        "memscan: another memscan is building baseline/measure.onnx: waiting for it"
    )


def test_a_private_folder_is_demanded(
    analytic: Path, folder: Path, trt: FakeTensorRt, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    build(analytic, "--cache", folder, code=1)
    assert capsys.readouterr().err == (
        f"memscan: error: {folder} can be written by others: plans are code, so run chmod go-w {folder}\n"
    )


def test_rtx_builds_a_bundle_without_a_gpu(tiny_bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real builder, on the quick graphs; the others were built before, as far as the cache can tell."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX's wheels are not installed")
    bundle, flavour = open_bundle(tiny_bundle), load_flavour("tensorrt-rtx")
    cache = PlanCache(folder)
    slow = {"measure.onnx", "baseline/measure.onnx", "step.onnx"}
    for graph in slow:
        key = PlanKey("tensorrt-rtx", flavour.version, None, ("8.6",), 2, graph_digest(bundle, graph))
        cache.store(key, Interface({}, {}), memoryview(b"plan"))
    build(tiny_bundle, *AHEAD, "--batch-size", 2, "--cache", folder)
    fates = listed(capsys)
    assert {graph for graph, how in fates.items() if how == "found"} == slow
    assert fates.keys() > slow


def test_capabilities_are_for_rtx(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(analytic, "--compute-capability", "8.6", code=2)
    assert capsys.readouterr().err.splitlines()[-1] == (
        "Error: --compute-capability is for --engine tensorrt-rtx: tensorrt builds for the GPU at hand"
    )


def test_no_bundle_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path / "gone", *AHEAD, code=2)
    assert capsys.readouterr().err.startswith(f"memscan: error: no bundle at {tmp_path / 'gone'}")
