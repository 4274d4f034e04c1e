"""Which kind of derivative a run measures by: the bundle's default, the user's choice, and what follows from it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from memscan.scanner import scan
from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.bundle_parts import Agreement, Certificate
from memscan.scanner.errors import ResumeRefused, UsageError
from memscan.scanner.run.measurement import build_measurement, matching_calibrations
from memscan.scanner.run.request import Request
from memscan.scanner.settings import Derivative, fingerprint, fingerprint_parts
from tests.analytic_bundle import SHALLOW, write_analytic_bundle
from tests.scanner.run.run_command import error, results, run

AGREEMENTS = (
    Agreement("shallow", "dh_uncond", 201, 0.99786, 0.75),
    Agreement("shallow", "dh_uncond", 1, None, None),
    Agreement("shallow", "h_cond", 101, 0.5, 0.75),
)


@pytest.fixture(scope="module")
def bundle(analytic: Path) -> Bundle:
    return open_bundle(analytic)


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose default is shallow, with a certificate."""
    path = tmp_path_factory.mktemp("bundles") / "shallow"
    certificate = Certificate(3, "ab" * 32, AGREEMENTS)
    return write_analytic_bundle(path, derivative="shallow", certificate=certificate)


def measured_by(bundle: Bundle, derivative: Derivative | None = None) -> Derivative:
    return build_measurement(bundle, Request(derivative=derivative))[0].derivative


def test_the_default_is_the_bundles(bundle: Bundle, shallow: Bundle) -> None:
    assert (measured_by(bundle), measured_by(shallow)) == ("exact", "shallow")
    assert (measured_by(bundle, "shallow"), measured_by(shallow, "exact")) == ("shallow", "exact")


def test_a_kind_that_the_bundle_lacks_is_refused_with_those_it_has(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    said = f"--derivative frozen: {bundle.path} has shallow and exact alone"
    assert error("--prompt", "a mug", "--model", bundle.path, "--derivative", "frozen", capsys=capsys) == said
    with pytest.raises(UsageError) as caught:
        scan(["a mug"], model=bundle, derivative="frozen")
    assert str(caught.value) == said
    exact = dataclasses.replace(bundle, passes={"exact": 5.6})
    with pytest.raises(UsageError, match=r"^--derivative shallow: \S+ has exact alone$"):
        build_measurement(exact, Request(derivative="shallow"))


@pytest.mark.parametrize(("derivative", "counts"), [("exact", False), ("shallow", True)])
def test_a_threshold_is_calibrated_for_its_own_derivative_alone(
    shallow: Bundle, derivative: Derivative, counts: bool
) -> None:
    measurement, notes = build_measurement(shallow, Request(derivative=derivative))
    assert [step.calibrated for step in measurement.steps] == [counts] * 3
    assert [step.threshold for step in measurement.steps] == [0.1 if counts else None] * 3
    assert bool(notes) != counts
    assert len(matching_calibrations(shallow, measurement)) == 3 * counts


def test_the_fingerprint_holds_it_and_another_does_not_resume(bundle: Bundle, tmp_path: Path) -> None:
    exact, shallow = (build_measurement(bundle, Request(derivative=kind))[0] for kind in ("exact", "shallow"))
    other = dataclasses.replace(exact, derivative="shallow")
    assert fingerprint(bundle.digest, exact) != fingerprint(bundle.digest, other)
    assert fingerprint_parts(bundle.digest, shallow)["derivative"] == "shallow"
    scan(["a mug"], model=bundle, out=tmp_path / "out", threshold=0.1)
    with pytest.raises(ResumeRefused, match=r': derivative was "exact" and is "shallow" now: choose another --out$'):
        scan(["a mug"], model=bundle, out=tmp_path / "out", threshold=0.1, derivative="shallow")


def test_results_say_it_in_a_column_and_in_their_settings(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    run("--prompt", "a memorized mug", "--model", bundle.path, "--out", "exact", code=0, capsys=capsys)
    shallow = ("--out", "shallow", "--derivative", "shallow", "--threshold", 0.1)
    run("--prompt", "a memorized mug", "--prompt", "\n", "--model", bundle.path, *shallow, code=3, capsys=capsys)
    rows = results("shallow").to_pylist()
    assert {row["status"] for row in rows} == {"ok", "error"}
    assert {row["derivative"] for row in rows} == {"shallow"}
    assert set(results("exact")["derivative"].to_pylist()) == {"exact"}
    found, expected = (results(out)["h_cond_mean"].drop_null().to_numpy() for out in ("shallow", "exact"))
    np.testing.assert_allclose(found, SHALLOW * expected, rtol=1e-5)  # float32 sums of 64 cells
    assert scan(["a mug"], model=bundle, derivative="shallow").origin.settings["derivative"] == "shallow"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            (),
            "shallow, certified correlation of its dh_uncond to the exact one: 0.9979 at timestep 201, undefined at"
            " timestep 1",
        ),
        (("--timestep", 101), "shallow, of which the bundle certifies nothing for dh_uncond here"),
        (
            ("--mask-map", "h_cond"),
            "shallow, certified correlation of its h_cond to the exact one: 0.5000 at timestep 101",
        ),
        (("--derivative", "exact"), "exact"),
    ],
)
def test_a_dry_run_names_it_with_what_is_certified(
    shallow: Bundle, options: tuple[object, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lines = run("--prompt", "a mug", "--model", shallow.path, "--dry-run", *options, code=0, capsys=capsys)
    assert f"memscan: derivative: {said}" in lines


def test_a_dry_run_without_a_certificate_says_so(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--dry-run", "--derivative", "shallow")
    _, lines = run("--prompt", "a mug", "--model", bundle.path, *options, code=0, capsys=capsys)
    assert "memscan: derivative: shallow, of which the bundle certifies nothing for dh_uncond here" in lines
    (price,) = [line for line in lines if "price" in line]
    assert price.endswith("(by count 2 a call of 4 tangents)")
