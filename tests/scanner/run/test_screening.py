"""`run --screen` on the analytic bundle: who passes follows from a closed form, and is scanned as without it."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memscan.scanner.bundle import open_bundle
from memscan.scanner.calibration.record import FILE
from memscan.scanner.cli import invoke
from memscan.scanner.results.reader import open_results
from memscan.scanner.sampling.schedule import noise_level
from tests.analytic_bundle import write_analytic_bundle
from tests.analytic_model import analytic_model
from tests.scanner.run.small_run import contents, error_line, lines, write_manifest
from tests.scanner.scanning.closed_form import torch_noise

REPOSITORY = Path(__file__).parents[3]

ROWS: list[dict[str, Any]] = [
    {"prompt": "a red rug", "seed": [1, 9], "image": None},
    {"prompt": "a city", "seed": [2, 3], "image": None},
    {"prompt": None, "seed": [4], "image": None},
    {"prompt": "a hazy rug", "seed": [5, 6, 7], "image": None},
    {"prompt": "a red rug", "seed": [11], "image": "there.png"},
    {"prompt": "a broken phone", "seed": [12], "image": None},
    {"prompt": "a blue forest", "seed": [8], "image": "late.png"},
    {"prompt": "a blue forest", "seed": [13], "image": None},
]
"""Among them an error row, one whose scores are not finite, one whose image is late, and given images."""

Rows = dict[tuple[int, int, int], dict[str, Any]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a calibration, by whose threshold of screening half of its clean prompts pass."""
    folder = tmp_path_factory.mktemp("screening")
    write_analytic_bundle(folder / "bundle", calibrated=False)
    (folder / "clean.txt").write_text("\n".join(f"a hazy rug {number}" for number in range(40)))
    options = ["--clean", folder / "clean.txt", "--rate", 0.05, "--timestep", 201, "--screen-rate", 0.5, "--threads", 1]
    assert invoke(list(map(str, ["calibrate", folder / "bundle", *options]))) == 0
    return folder / "bundle"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(tmp_path / "there.png")
    return write_manifest(tmp_path / "m.parquet", ROWS)


def command(manifest: Path, bundle: Path, out: Path, *options: Any) -> list[str]:
    run = ["run", manifest, "--model", bundle, "--out", out, "--threads", 1, "--step", 2, "--step", 7]
    return list(map(str, [*run, *options]))


def rows_of(out: Path) -> Rows:
    """The rows by their key, without what two runs cannot share."""
    table = open_results(out).table.drop_columns(["scanned_at", "run_id"])
    return {(row["row"], row["seed"], row["step_index"]): row for row in table.to_pylist()}


def norm(bundle: Path, prompt: str, seed: int) -> float:
    """|eps_c - eps_0| at the first step, whose x is the noise itself."""
    model, level = analytic_model(), noise_level(open_bundle(bundle).schedule, 901)
    x = torch_noise(seed)
    eps = [model.eps(x, text, level.alpha, level.sigma) for text in (prompt, "")]
    return float(np.sqrt(np.square(eps[0] - eps[1]).sum()))


def test_the_threshold_is_the_order_statistic_of_the_norm_in_closed_form(bundle: Path) -> None:
    """0.5 of 40 + 1 ranks: 19 of the clean norms may reach the threshold, which lies just above the 20th."""
    norms = sorted((norm(bundle, f"a hazy rug {number}", number) for number in range(40)), reverse=True)
    screen = json.loads((bundle / FILE).read_text())["screen"]
    assert (screen["steps"], screen["score"], screen["rate"], screen["labelled"]) == (1, "guidance_norm", 0.5, None)
    assert screen["limit"]["threshold"] == pytest.approx(norms[19], rel=2e-6)  # float32 of a norm of 256 values


def test_those_that_reach_the_threshold_are_scanned_and_their_rows_are_those_of_a_full_run(
    bundle: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = lines(command(manifest, bundle, tmp_path / "screened", "--screen"), 3, capsys)
    full_said = lines(command(manifest, bundle, tmp_path / "full"), 3, capsys)
    screened, full = rows_of(tmp_path / "screened"), rows_of(tmp_path / "full")
    threshold = json.loads((bundle / FILE).read_text())["screen"]["limit"]["threshold"]
    assert screened.keys() == full.keys()
    fates = []
    for key, row in screened.items():
        given, score = ROWS[key[0]]["image"], row.pop("screen_score")
        assert full[key].pop("screen_score") is None
        if row["status"] == "screened":
            assert score == pytest.approx(norm(bundle, row["prompt"], key[1]), rel=2e-6)
            assert score < threshold
            assert row["score"] is row["p_value"] is row["mask"] is row["error"] is None
            fates.append(row["seed"])
            continue
        assert row == full[key]
        if given or ROWS[key[0]]["prompt"] in (None, "a broken phone"):
            assert score is None
        else:
            assert score >= threshold
            assert score == pytest.approx(norm(bundle, row["prompt"], key[1]), rel=2e-6)
    left_out = {
        seed
        for row in ROWS
        for seed in row["seed"]
        if row["prompt"] and not row["image"] and norm(bundle, row["prompt"], seed) < threshold
    }
    assert {2, 3} <= left_out < {1, 2, 3, 5, 6, 7, 8, 9, 13}
    assert set(fates) == left_out
    count = len(left_out)
    done = next(line for line in said if line.startswith("memscan: done"))
    assert done.startswith(f"memscan: done: 12 images: {9 - count} ok, 3 with errors,")
    assert f"; {count} screened out, and not scanned; 10 sampled, 2 given" in done
    assert not any("screened" in line for line in full_said)


@pytest.mark.parametrize("options", [("--batch-size", 1), ("--batch-size", 3), ("--batch-size", 2, "--part-rows", 3)])
def test_batch_and_part_size_change_no_row(bundle: Path, manifest: Path, tmp_path: Path, options: tuple[Any]) -> None:
    assert invoke(command(manifest, bundle, tmp_path / "a", "--screen", "--batch-size", 16)) == 3
    assert invoke(command(manifest, bundle, tmp_path / "b", "--screen", *options)) == 3
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")


def test_a_killed_run_goes_on_and_has_the_maps_and_images_of_those_that_passed(
    bundle: Path, manifest: Path, tmp_path: Path
) -> None:
    options = ("--screen", "--maps", "--images", "--batch-size", 2, "--part-rows", 3)
    assert invoke(command(manifest, bundle, tmp_path / "whole", *options)) == 3
    killed = command(manifest, bundle, tmp_path / "killed", *options)
    point = ["SIGKILL", "memscan.scanner.run.part.write_part", "", "2"]
    program = [sys.executable, "-m", "tests.scanner.run.stopped_run", *point, *killed]
    stopped = subprocess.run(program, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert stopped.returncode == -signal.SIGKILL, stopped.stderr
    assert len(list((tmp_path / "killed" / "results").glob("*.parquet"))) == 1
    assert invoke(killed) == 3
    found = contents(tmp_path / "killed")
    assert found == contents(tmp_path / "whole")
    good = {key[:2] for key, row in rows_of(tmp_path / "killed").items() if row["status"] == "ok"}
    assert len([name for name in found if name.endswith(".png")]) == len(good | {(5, 12)})  # not finite, but an image


def test_retry_errors_scans_what_failed_and_not_what_was_screened(
    bundle: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = command(manifest, bundle, tmp_path / "out", "--screen", "--maps")
    assert invoke(run) == 3
    before = rows_of(tmp_path / "out")
    times = _times(tmp_path / "out")
    shutil.copy(tmp_path / "there.png", tmp_path / "late.png")
    said = lines([*run, "--retry-errors"], 3, capsys)
    assert "memscan: 9 of 12 images are done already" in said
    after = rows_of(tmp_path / "out")
    changed = {key[:2] for key in after if after[key] != before[key]}
    assert changed == {(6, 8)}
    again = _times(tmp_path / "out")
    assert {key[:2] for key in again if again[key] != times[key]} <= {(2, 4), (5, 12), (6, 8)}


def _times(out: Path) -> dict[tuple[int, int, int], Any]:
    table = open_results(out).table.to_pylist()
    return {(row["row"], row["seed"], row["step_index"]): row["scanned_at"] for row in table}


def test_lost_maps_of_a_screened_run_are_made_again(bundle: Path, manifest: Path, tmp_path: Path) -> None:
    run = command(manifest, bundle, tmp_path / "out", "--screen", "--maps", "--images")
    assert invoke(run) == 3
    before = contents(tmp_path / "out")
    (file,) = (tmp_path / "out" / "maps").glob("*.parquet")
    file.unlink()
    assert invoke(run) == 3
    assert contents(tmp_path / "out") == before


def test_dry_run_says_the_price_of_those_that_are_left_out_and_counts_them_apart(
    bundle: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = command(manifest, bundle, tmp_path / "out", "--screen")
    assert invoke(run) == 3
    said = lines([*run, "--dry-run"], 0, capsys)
    threshold = json.loads((bundle / FILE).read_text())["screen"]["limit"]["threshold"]
    assert (
        f"memscan: screening: that is of images whose guidance_norm reaches {threshold:.4g}; of the others 2 forward "
        "passes"
    ) in said
    count = len({key[:2] for key, row in rows_of(tmp_path / "out").items() if row["status"] == "screened"})
    assert f"memscan: done already: 12 images, {9 - count} ok and 3 with errors, {count} screened; 0 are left" in said


def test_screening_is_part_of_the_fingerprint(
    bundle: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(command(manifest, bundle, tmp_path / "out", "--screen")) == 3
    assert "screen" in error_line(command(manifest, bundle, tmp_path / "out"), 2, capsys)


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (("--calibration", "none"), "10 steps of ddim at guidance 2.5"),
        (("--guidance", 3), "10 steps of ddim at guidance 3"),
        (("--num-inference-steps", 20), "20 steps of ddim at guidance 2.5"),
    ],
)
def test_without_a_calibration_of_the_path_it_is_refused(
    bundle: Path,
    manifest: Path,
    tmp_path: Path,
    options: tuple[Any],
    settings: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = [
        *("run", str(manifest), "--model", str(bundle), "--out", str(tmp_path / "out"), "--screen"),
        *map(str, options),
    ]
    assert error_line(refused, 2, capsys) == (
        f"--screen: no screening is calibrated for {settings}: `memscan calibrate {bundle}` with these settings makes "
        "one, or leave --screen out"
    )
    assert not (tmp_path / "out").exists()


def test_too_few_clean_prompts_for_the_rate_make_no_screening(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_analytic_bundle(tmp_path / "bundle", calibrated=False)
    (tmp_path / "clean.txt").write_text("\n".join(f"a hazy rug {number}" for number in range(9)))
    options = ["--clean", tmp_path / "clean.txt", "--rate", 0.1, "--timestep", 201, "--threads", 1]
    assert invoke(list(map(str, ["calibrate", tmp_path / "bundle", *options]))) == 0
    assert "no screening (memscan run --screen): the clean prompts are too few" in capsys.readouterr().out
    assert json.loads((tmp_path / "bundle" / FILE).read_text())["screen"] is None


@pytest.mark.parametrize("reader", ["status", "top", "report", "show", "flag", "table"])
def test_every_reader_copes_with_screened_rows(bundle: Path, manifest: Path, tmp_path: Path, reader: str) -> None:
    out = tmp_path / "out"
    run = command(manifest, bundle, out, "--screen", "--maps", "--images")
    assert invoke(run) == 3
    options = {
        "status": [],
        "top": [],
        "report": ["--out", tmp_path / "r.html"],
        "show": ["--out", tmp_path / "s.png"],
        "flag": [],
        "table": ["--csv", tmp_path / "t.csv"],
    }
    assert invoke(list(map(str, [reader, out, *options[reader]]))) == 0


def test_eval_says_how_many_were_screened_and_how_many_of_them_are_memorized(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`a city` has no features: its norm is 0. All others of these are far above the threshold."""
    prompts = ["a red rug", "a blue forest", "a city", "a city"]
    rows = [{"prompt": prompt, "seed": [1], "id": str(place)} for place, prompt in enumerate(prompts)]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    run = ["run", manifest, "--model", bundle, "--out", tmp_path / "out", "--screen", "--threads", 1]
    assert invoke(list(map(str, run))) == 0
    truth = [{"id": str(place), "kind": kind} for place, kind in enumerate(["global", "none", "global", "none"])]
    pq.write_table(pq.read_table(write_manifest(tmp_path / "t.parquet", truth)), tmp_path / "truth.parquet")
    said = lines(["eval", str(tmp_path / "out"), "--ground-truth", str(tmp_path / "truth.parquet")], 0, capsys)
    assert (
        "memscan: 2 of 4 result rows have status screened and are not scored, 1 of them memorized: figures are of the "
        "rows that were scanned"
    ) in said
