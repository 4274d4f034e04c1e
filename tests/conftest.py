"""Fixtures that several folders of tests share: tiny pipelines and their exported bundle, made once a session."""

from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from memscan.scanner.cli import invoke
from tests.tiny_pipeline import save_pipeline


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SD 1-like pipeline, predicting eps."""
    return save_pipeline(tmp_path_factory.mktemp("pipelines") / "tiny-sd1")


@pytest.fixture(scope="session")
def tiny_baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another checkpoint of the same architecture and tokenizer."""
    return save_pipeline(tmp_path_factory.mktemp("pipelines") / "tiny-sd1-early", seed=1)


@dataclass(frozen=True)
class Exported:
    """A bundle and what the command printed while it made it."""

    path: Path
    printed: str


@pytest.fixture(scope="session")
def tiny_export(tiny_pipeline: Path, tiny_baseline: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """`memscan export` of `tiny_pipeline` with `tiny_baseline`, four tangents a call."""
    out = tmp_path_factory.mktemp("bundles") / "tiny.bundle"
    arguments = ["export", str(tiny_pipeline), str(out), "--baseline", str(tiny_baseline), "--tangents", "4"]
    with redirect_stdout(StringIO()) as printed:
        assert invoke(arguments) == 0
    return Exported(out, printed.getvalue())


@pytest.fixture(scope="session")
def tiny_bundle(tiny_export: Exported) -> Path:
    """The bundle of `tiny_export`."""
    return tiny_export.path
