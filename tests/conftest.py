"""Fixtures that several folders of tests share: tiny pipelines and their exported bundle, made once a session."""

import signal
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.telemetry import forbid_telemetry
from tests.tiny_pipeline import save_pipeline


def pytest_configure() -> None:
    """What the tests start inherits this: no telemetry, and SIGINT heeded, also after `make test &`."""
    forbid_telemetry()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SD 1-like pipeline, predicting eps."""
    return save_pipeline(tmp_path_factory.mktemp("pipelines") / "tiny-sd1")


@pytest.fixture(scope="session")
def tiny_baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another checkpoint of the same architecture and tokenizer."""
    return save_pipeline(tmp_path_factory.mktemp("pipelines") / "tiny-sd1-early", seed=1)


@pytest.fixture(scope="session")
def tiny_xl_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SDXL-like pipeline, predicting eps."""
    return save_pipeline(tmp_path_factory.mktemp("pipelines") / "tiny-sdxl", family="sdxl")


@dataclass(frozen=True)
class Exported:
    """A bundle and what the command printed while it made it."""

    path: Path
    printed: str


@pytest.fixture(scope="session")
def tiny_export(tiny_pipeline: Path, tiny_baseline: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """`memscan export` of `tiny_pipeline` with `tiny_baseline`, four tangents a call."""
    folder = tmp_path_factory.mktemp("bundles")
    return _export(tiny_pipeline, folder / "tiny.bundle", "--baseline", str(tiny_baseline))


@pytest.fixture(scope="session")
def tiny_bundle(tiny_export: Exported) -> Path:
    """The bundle of `tiny_export`."""
    return tiny_export.path


@pytest.fixture(scope="session")
def tiny_xl_bundle(tiny_xl_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`memscan export` of `tiny_xl_pipeline`, four tangents a call."""
    return _export(tiny_xl_pipeline, tmp_path_factory.mktemp("bundles") / "tiny-sdxl.bundle").path


def _export(pipeline: Path, out: Path, *options: str) -> Exported:
    with redirect_stdout(StringIO()) as printed:
        assert invoke(["export", str(pipeline), str(out), "--tangents", "4", *options]) == 0
    return Exported(out, printed.getvalue())
