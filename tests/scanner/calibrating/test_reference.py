"""The reference of the update norm: what a calibration brings, against norms measured by themselves."""

import json
from pathlib import Path

import numpy as np
import pytest

from memscan.scanner.bundle import open_bundle
from memscan.scanner.calibrating.reference import PROMPTS, make_reference
from memscan.scanner.calibrating.scans import Scans
from memscan.scanner.calibration.record import FILE
from memscan.scanner.cli import invoke
from memscan.scanner.errors import UsageError
from memscan.scanner.results.reader import open_results
from memscan.scanner.run.request import Request
from memscan.scanner.settings import Execution
from tests.analytic_bundle import write_analytic_bundle
from tests.scanner.calibrating.test_calibrate import CLEAN
from tests.scanner.run.small_run import error_line

LAST_NORMS = [f"--step={index}" for index in range(1, 10)]
"""At the state that a step leads to, `update_last` is how far it moved the latent."""


def silent(line: str) -> None:
    """Scans say what they do."""


def scans(bundle: Path, folder: Path) -> Scans:
    return Scans(open_bundle(bundle), Execution(threads=1, provider="cpu"), folder, silent)


def test_mean_and_deviation_are_those_of_each_step(analytic: Path, tmp_path: Path) -> None:
    prompts = [f"a hazy rug {number}" for number in range(PROMPTS + 3)]
    found = make_reference(scans(analytic, tmp_path / "scans"), prompts, Request(guidance_scale=3))
    manifest = tmp_path / "m.csv"
    manifest.write_text("prompt,seed\n" + "\n".join(f"{prompt},{i}" for i, prompt in enumerate(prompts[:PROMPTS])))
    run = ["run", str(manifest), "--model", str(analytic), "--out", str(tmp_path / "out"), "--guidance", "3"]
    assert invoke([*run, *LAST_NORMS, "--metrics", "update_last", "--score", "update_last"]) == 0
    norms = open_results(tmp_path / "out").table["update_last"].to_numpy().reshape(PROMPTS, 9).astype(np.float64)
    assert found.timesteps == (901, 801, 701, 601, 501, 401, 301, 201, 101)
    # Both are of float32 norms, whose steps here are taken on the device and there on the host.
    assert found.mean == pytest.approx(norms.mean(axis=0), rel=1e-5)
    assert found.deviation == pytest.approx(norms.std(axis=0, ddof=1), rel=1e-4)


def test_run_standardizes_by_the_calibrations_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "bundle"
    write_analytic_bundle(bundle, calibrated=False)
    clean = tmp_path / "clean.txt"
    clean.write_text("\n".join(CLEAN))
    calibrated = ["calibrate", str(bundle), "--clean", str(clean), "--rate", "0.05", "--timestep", "101"]
    assert invoke([*calibrated, "--score", "update_z", "--threads", "1"]) == 0
    record = json.loads((bundle / FILE).read_text())
    (reference,) = record["references"]
    run = ["run", "--prompt", "a copied mug", "--model", str(bundle), "--threads", "1"]
    assert invoke([*run, "--out", str(tmp_path / "z")]) == 0
    assert invoke([*run, "--out", str(tmp_path / "d"), *LAST_NORMS, "--metrics", "update_last"]) == 0
    (z,) = open_results(tmp_path / "z").table.to_pylist()
    norms = open_results(tmp_path / "d").table["update_last"].to_numpy()[: z["step_index"]]
    mean, deviation = (np.array(reference[name])[: z["step_index"]] for name in ("mean", "deviation"))
    assert z["update_z"] == pytest.approx(max(abs(norms - mean) / deviation), rel=1e-4)
    assert z["score"] == z["update_z"]
    (level,) = record["levels"]
    beaten = sum(np.float32(one) >= np.float32(z["score"]) for one in level["scores"]["update_z"]["clean"])
    assert z["p_value"] == (1 + beaten) / 61
    other = [*run, "--out", str(tmp_path / "other"), "--metrics", "update_z", "--guidance", "3"]
    assert "needs a reference of clean prompts" in error_line(other, 2, capsys)


def test_one_good_image_is_no_reference(analytic: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"can be made of the clean prompts: .*two images"):
        make_reference(scans(analytic, tmp_path), ["a rug", "a broken rug"], Request())
