"""A finished run, copied for each test that damages it or asks it to go on."""

import shutil
from pathlib import Path

import pytest

from memscan.scanner.cli import invoke
from tests.scanner.run.small_run import ROWS, command, write_manifest


@pytest.fixture(scope="session")
def finished_run(analytic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a finished run of `ROWS`, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    assert invoke(command(write_manifest(folder / "m.parquet", ROWS), analytic, folder / "out")) == 3
    return folder / "out"


@pytest.fixture
def out(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run of its own for each test."""
    shutil.copytree(finished_run, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def arguments(analytic: Path, tmp_path: Path, out: Path) -> list[str]:
    """The command of the finished run."""
    return command(write_manifest(tmp_path / "m.parquet", ROWS), analytic, out)
