"""The analytic bundle, written once a session for the tests that only read it."""

from pathlib import Path

import pytest

from tests.analytic_bundle import write_analytic_bundle


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
