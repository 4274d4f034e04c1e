"""A finished run, copied for each test that damages it or asks it to go on."""

import shutil
from pathlib import Path

import pytest

from tests.scanner.run.small_run import ROWS, command, write_manifest


@pytest.fixture
def out(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run of its own for each test."""
    shutil.copytree(finished_run, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def arguments(analytic: Path, tmp_path: Path, out: Path) -> list[str]:
    """The command of the finished run."""
    return command(write_manifest(tmp_path / "m.parquet", ROWS), analytic, out)
