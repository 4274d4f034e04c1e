"""`memscan calibrate` on the analytic bundle, whose scores of clean prompts are known in closed form."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy import stats

from memscan.scanner.bundle import open_bundle
from memscan.scanner.calibration.record import FILE, find_calibration
from memscan.scanner.cli import invoke
from memscan.scanner.results.reader import open_results
from memscan.scanner.sampling.samplers import sampler_timesteps
from memscan.scanner.sampling.schedule import noise_level
from memscan.scanner.schedules import FlowSchedule
from tests.analytic_bundle import write_analytic_bundle
from tests.analytic_model import analytic_model
from tests.scanner.run.small_run import error_line, lines

CLEAN = [f"a hazy rug {number}" for number in range(60)]
"""All of one distribution, that of their own noise; words that the model does not know tell them apart."""

FLOW = FlowSchedule(1000, 3.0, None)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "bundle"
    write_analytic_bundle(path, calibrated=False)
    return path


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    file = tmp_path / "clean.txt"
    file.write_text("\n".join(CLEAN))
    return file


def calibrate(bundle: Path, clean: Path, *options: Any, code: int = 0) -> dict[str, Any]:
    command = ["calibrate", bundle, "--clean", clean, "--rate", 0.05, "--threads", 1, *options]
    assert invoke(list(map(str, command))) == code
    return json.loads((bundle / FILE).read_text()) if (bundle / FILE).exists() else {}


def test_thresholds_are_those_of_the_closed_form(bundle: Path, clean: Path) -> None:
    """The curvature of these prompts is the same whatever their noise: every threshold lies just above it."""
    record = calibrate(bundle, clean, "--timestep", 201)
    level = noise_level(open_bundle(bundle).schedule, 201)
    model = analytic_model()
    dh = (model.collapse(CLEAN[0], level.alpha, level.sigma) - model.collapse("", level.alpha, level.sigma)).mean(0)
    (found,) = record["levels"]
    half = float(np.spacing(np.float16(np.sort(dh.ravel())[-4])))
    # 60 prompts of 64 cells: (0.05 * 61 - 1) * 64 = 131 cells may be above, which are the two highest of each prompt.
    assert found["maps"]["dh_uncond"]["threshold"] == pytest.approx(np.sort(dh.ravel())[-3], abs=2 * half)
    assert found["scores"]["dh_uncond_mean"]["clean"] == pytest.approx([dh.mean()] * 60, rel=1e-5)
    assert record["recommended"] | {"why": ""} == {
        "timestep": 201,
        "mask_map": "dh_uncond",
        "score_name": "dh_uncond_q99",
        "why": "",
    }


def test_bundle_stays_as_it_was_and_the_run_takes_settings_threshold_and_p_values(
    bundle: Path, clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = open_bundle(bundle).digest
    calibrate(bundle, clean, "--timestep", 101, "--num-probes", 16, "--guidance", 2, "--score", "ds_uncond_mean")
    assert open_bundle(bundle).digest == before
    said = lines(
        ["run", "--prompt", "a memorized mug", "--model", str(bundle), "--out", str(tmp_path / "out")], 0, capsys
    )
    assert said[0] == (
        "memscan: calibrated on 60 clean prompts at a rate of false positives of 0.05: unless told otherwise, timestep "
        "101, 10 steps of ddim, guidance 2, 16 hadamard probes, exact derivative, masks of dh_uncond, score "
        "ds_uncond_mean"
    )
    (row,) = open_results(tmp_path / "out").table.to_pylist()
    record = json.loads((bundle / FILE).read_text())
    (level,) = record["levels"]
    assert (row["timestep"], row["calibrated"]) == (101, True)
    assert row["threshold"] == np.float32(level["maps"]["dh_uncond"]["threshold"])
    beaten = sum(np.float32(one) >= np.float32(row["score"]) for one in level["scores"]["ds_uncond_mean"]["clean"])
    assert row["p_value"] == (1 + beaten) / 61
    assert row["score"] == row["ds_uncond_mean"]
    assert row["mask"] is not None


@pytest.mark.parametrize(
    "options",
    [
        ("--guidance", "3"),
        ("--num-probes", "16"),
        ("--timestep", "1"),
        ("--derivative", "shallow"),
        ("--calibration", "none"),
        ("--num-inference-steps", "20"),
    ],
    ids=lambda options: options[0],
)
def test_other_settings_have_neither_threshold_nor_p_value(
    bundle: Path, clean: Path, tmp_path: Path, options: tuple[str, str]
) -> None:
    calibrate(bundle, clean, "--timestep", 201)
    out = str(tmp_path / "out")
    assert invoke(["run", "--prompt", "a mug", "--model", str(bundle), "--out", out, *options]) == 0
    for row in open_results(out).table.to_pylist():
        assert (row["p_value"], row["mask"], row["calibrated"]) == (None, None, False)
        assert row["score"] is not None
        assert row["sigma"] > 0


def test_p_values_of_new_clean_prompts_are_uniform(bundle: Path, tmp_path: Path) -> None:
    """A score of the noise alone, by Kolmogorov and Smirnov; 300 clean prompts and 300 new ones, of other seeds."""
    prompts = [f"hazy {number}" for number in range(600)]
    clean, manifest = tmp_path / "clean.txt", tmp_path / "new.csv"
    clean.write_text("\n".join(prompts[:300]))
    manifest.write_text("prompt,seed\n" + "\n".join(f"{prompt},{7000 + i}" for i, prompt in enumerate(prompts[300:])))
    calibrate(bundle, clean, "--timestep", 901, "--score", "ds_uncond_mean")
    assert invoke(["run", str(manifest), "--model", str(bundle), "--out", str(tmp_path / "out")]) == 0
    found = open_results(tmp_path / "out").table["p_value"].to_numpy()
    # Both samples are finite: the statistic of two samples of 300, not that of one against the uniform distribution.
    assert stats.kstest(found, "uniform").statistic < stats.ksone.isf(0.001, 150)
    assert np.mean(found <= 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 * (1 / 300 + 1 / 300)))


def test_calibration_of_another_bundle_is_refused(
    bundle: Path, clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrate(bundle, clean, "--timestep", 201, "--out", tmp_path / "c.json")
    other = tmp_path / "other"
    write_analytic_bundle(other, threshold=0.2)
    command = ["run", "--prompt", "a mug", "--model", str(other), "--calibration", str(tmp_path / "c.json")]
    found = error_line([*command, "--out", str(tmp_path / "out")], 2, capsys)
    assert "c.json is the calibration of another bundle (" in found
    assert not (tmp_path / "out").exists()


def test_resume_with_another_calibration_is_refused_by_its_name(
    bundle: Path, clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run", "--prompt", "a mug", "--model", str(bundle), "--out", str(tmp_path / "out"), "--timestep", "201"]
    calibrate(bundle, clean, "--timestep", 201)
    assert invoke(run) == 0
    calibrate(bundle, clean, "--timestep", 201, "--replace", "--rate", 0.1)
    assert "calibration was " in error_line(run, 2, capsys)
    assert "calibration was " in error_line([*run, "--calibration", "none"], 2, capsys)
    (kept,) = bundle.glob("calibration.*.json")
    assert invoke([*run, "--calibration", str(kept)]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rate", "0.01"], "--rate 0.01 needs 99 clean prompts at least, and there are 60"),
        (["--timestep", "200"], "--timestep 200 is none of the sampler's 10"),
        (["--out", "missing/c.json"], "there is no folder missing"),
        (["--seeds", "0"], None),
    ],
    ids=["rate", "timestep", "folder", "seeds"],
)
def test_what_cannot_be_calibrated_is_refused_before_any_scan(
    bundle: Path, clean: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str | None
) -> None:
    command = ["calibrate", str(bundle), "--clean", str(clean), "--rate", "0.05", *options]
    if said is None:
        assert invoke(command) == 2
    else:
        assert said in error_line(command, 2, capsys)
    assert not (bundle / FILE).exists()


def test_one_that_is_there_is_never_overwritten(bundle: Path, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calibrate(bundle, clean, "--timestep", 201)
    before = (bundle / FILE).read_bytes()
    assert "is there already" in error_line(["calibrate", str(bundle), "--clean", str(clean)], 2, capsys)
    assert (bundle / FILE).read_bytes() == before


def test_rows_that_fail_are_left_out_and_count_as_none(bundle: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean.txt"
    clean.write_text("\n".join([*CLEAN[:25], "a broken rug", CLEAN[0]]))
    record = calibrate(bundle, clean, "--timestep", 201, "--seeds", 2)
    assert record["clean"] | {"prompts_digest": ""} == {"prompts": 25, "images_a_prompt": 2, "prompts_digest": ""}
    assert len(record["levels"][0]["scores"]["dh_base_mean"]["clean"]) == 50


def test_default_grid_is_the_samplers_own_and_has_the_bundles_timesteps(bundle: Path, clean: Path) -> None:
    record = calibrate(bundle, clean)
    assert [level["timestep"] for level in record["levels"]] == [401, 301, 201, 101, 1]


def test_spoilt_file_is_refused_with_what_is_wrong(
    bundle: Path, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = calibrate(bundle, clean, "--timestep", 201)
    run = ["run", "--prompt", "a mug", "--model", str(bundle)]
    (bundle / FILE).write_text(json.dumps(record | {"rate": float("nan")}))
    assert "is no calibration (NaN is no number of JSON)" in error_line(run, 2, capsys)
    (bundle / FILE).write_text(json.dumps(record | {"format_version": 9}))
    assert "calibration format 9, this memscan reads 1" in error_line(run, 2, capsys)
    record["levels"][0]["scores"]["dh_uncond_mean"]["clean"].pop()
    (bundle / FILE).write_text(json.dumps(record))
    assert "dh_uncond_mean has 59 values for 60 images" in error_line(run, 2, capsys)
    (bundle / FILE).unlink()
    assert find_calibration(open_bundle(bundle)) is None


def test_given_image_has_no_p_value(bundle: Path, clean: Path, tmp_path: Path) -> None:
    calibrate(bundle, clean, "--timestep", 201)
    picture = io.BytesIO()
    Image.new("RGB", (32, 32), "grey").save(picture, "PNG")
    manifest = tmp_path / "m.parquet"
    pq.write_table(pa.table({"prompt": ["a mug", "a mug"], "image": [picture.getvalue(), None]}), manifest)
    assert invoke(["run", str(manifest), "--model", str(bundle), "--out", str(tmp_path / "out")]) == 0
    table = open_results(tmp_path / "out").table
    assert [value is None for value in table["p_value"].to_pylist()] == [True, False]
    assert table["mask"].null_count == 0


def test_a_step_from_pure_noise_does_not_screen(tmp_path: Path, clean: Path) -> None:
    """There the prompt changes nothing, and every norm would be 0."""
    path = tmp_path / "flow"
    own = sampler_timesteps(FLOW, "euler", 10)
    write_analytic_bundle(
        path, calibrated=False, schedule=FLOW, prediction_type="flow_prediction", sampler="euler", timesteps=own[-2:]
    )
    screen = calibrate(path, clean, "--timestep", own[-1])["screen"]
    assert screen["steps"] == 2
    assert screen["limit"]["threshold"] > 0
