"""The analytic bundle and a finished run of it, made once a session; stand-ins for CUDA and TensorRT."""

import sys
from pathlib import Path

import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.runtimes.tensorrt import cuda
from tests.analytic_bundle import write_analytic_bundle
from tests.scanner.run.small_run import ROWS, command, write_manifest
from tests.scanner.runtimes.tensorrt.fake_cudart import FakeCudart
from tests.scanner.runtimes.tensorrt.fake_tensorrt import FakeTensorRt


@pytest.fixture(scope="session")
def analytic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the analytic bundle, with a baseline and calibrated thresholds."""
    path = tmp_path_factory.mktemp("bundles") / "analytic"
    write_analytic_bundle(path)
    return path


@pytest.fixture(scope="session")
def analytic_without_baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an analytic bundle that has no less-trained checkpoint."""
    path = tmp_path_factory.mktemp("bundles") / "no-baseline"
    write_analytic_bundle(path, baseline=False)
    return path


@pytest.fixture(scope="session")
def finished_run(analytic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a finished run of `ROWS`, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    assert invoke(command(write_manifest(folder / "m.parquet", ROWS), analytic, folder / "out")) == 3
    return folder / "out"


@pytest.fixture
def cudart(monkeypatch: pytest.MonkeyPatch) -> FakeCudart:
    """A GPU that is not there, in place of cuda-bindings."""
    fake = FakeCudart()
    monkeypatch.setattr(cuda, "_import_cudart", lambda: fake)
    return fake


@pytest.fixture
def trt(cudart: FakeCudart, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    """A TensorRT for that GPU, in place of both flavours' packages."""
    fake = FakeTensorRt(cudart)
    for package in ("tensorrt", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, package, fake)
    return fake
