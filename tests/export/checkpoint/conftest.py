"""A copy of a tiny pipeline, to be spoiled."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copy(tiny_pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_pipeline, tmp_path / "copy"))


@pytest.fixture
def xl_copy(tiny_xl_pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_xl_pipeline, tmp_path / "xl-copy"))
