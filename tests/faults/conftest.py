"""The undisturbed scan, once a session."""

from pathlib import Path
from typing import Any

import pytest

from tests.analytic_bundle import write_analytic_bundle
from tests.faults.scan import undisturbed


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the analytic bundle."""
    path = tmp_path_factory.mktemp("model") / "analytic"
    write_analytic_bundle(path)
    return path


@pytest.fixture(scope="session")
def expected(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a reader sees of the undisturbed scan."""
    return undisturbed(tmp_path_factory.mktemp("undisturbed"), model)
