"""`memscan run` as its users meet it: what it says."""

import json
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memscan.scanner import embedded
from memscan.scanner.cli import invoke
from memscan.scanner.commands.run import command
from memscan.scanner.results.reader import open_results
from memscan.scanner.results.schema import COLUMNS
from tests.default_maps import MAPS
from tests.scanner.run.run_command import error, results, run, write


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_manifest_gives_results_and_says_what_to_do_with_them(
    analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("prompts.parquet", prompt=["a memorized poster", "a city"], id=[10, 20], kind=["local", "none"])
    out, lines = run("prompts.parquet", "--model", analytic, "--carry", "kind", code=0, capsys=capsys)
    assert out == "prompts.memscan\n"
    assert lines == [
        "memscan: done: 2 images: 2 ok, 0 with errors, 0 with truncated prompts",
        "memscan: look at them: python -c 'import duckdb, sys; duckdb.sql(sys.argv[1]).show()' "
        """'SELECT row, seed, prompt, score, mask_share FROM "prompts.memscan/results/*.parquet" """
        "WHERE step_index = 7 ORDER BY score DESC LIMIT 10'",
    ]
    table = results("prompts.memscan")
    assert table.column_names == [*COLUMNS.names, "kind"]
    assert table["id"].to_pylist() == ["10"] * 3 + ["20"] * 3
    assert table["kind"].to_pylist() == ["local"] * 3 + ["none"] * 3
    assert table["model_id"].unique().to_pylist() == ["analytic"]
    assert table["calibrated"].unique().to_pylist() == [True]
    assert all(table[f"{name}_mean"].null_count == 0 for name in MAPS)
    # "memorized" collapses the left half, so the conditional curvature there exceeds the unconditional one.
    last_step = table.filter(pa.compute.equal(table["step_index"], 9))
    memorized, free = last_step["mask_share"].to_pylist()
    assert memorized == pytest.approx(0.5, abs=0.01)
    assert free == 0


@pytest.mark.parametrize("name", ["audit", "Audit Q1 (O'Brien)", "a[1] *?", 'a$(touch x)`touch y`;touch z"', "ü b"])
def test_commands_that_are_printed_work_when_they_are_pasted(
    name: str, analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(f"{name}.parquet", prompt=["a city", " "])
    arguments = (f"{name}.parquet", "--model", analytic, "--maps", "--out", f"{name}.memscan")
    _, lines = run(*arguments, code=3, capsys=capsys)
    before = set(Path().iterdir())
    shell = f"alias python={shlex.quote(sys.executable)}; "
    tables, sheet = (line.partition(" them: ")[2] for line in lines[-2:])
    words = shlex.split(tables)
    assert "error" in words[-1]
    assert len(duckdb.sql(words[-1]).fetchall()) == 2  # one noise level alone
    shown = subprocess.run(["sh", "-c", f"{shell}\n{tables}"], capture_output=True, text=True, check=True)
    assert "a city" in shown.stdout
    assert invoke(shlex.split(sheet)[1:]) == 0
    assert set(Path().iterdir()) == before


def test_prompts_are_scanned_without_a_manifest(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run("--prompt", "a city", "--prompt", "a mug", "--model", analytic, "--step", 9, code=0, capsys=capsys)
    assert out == "prompts.memscan\n"
    assert results("prompts.memscan")["prompt"].to_pylist() == ["a city", "a mug"]


def test_rows_that_fail_are_error_rows_and_exit_code_3(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.png").write_text("no image")
    with Path("m.jsonl").open("w") as stream:
        for row in (
            {"prompt": "a city"},
            {"prompt": None},
            {"prompt": "a city", "seed": "one"},
            {"prompt": "a city", "seed": -1},
            {"prompt": "a city", "image": "gone.png"},
            {"prompt": "a city", "image": "bad.png"},
            {"prompt": "a broken mug"},
        ):
            stream.write(json.dumps(row) + "\n")
    _, lines = run("m.jsonl", "--model", analytic, "--step", 8, "--step", 9, code=3, capsys=capsys)
    fate = "7 images: 1 ok, 6 with errors, 0 with truncated prompts; 5 sampled, 2 given"
    assert lines[0] == f"memscan: done: {fate}"
    table = results("m.jsonl.memscan")
    assert table["row"].to_pylist() == [row for row in range(7) for _ in range(2)]
    assert table["status"].to_pylist() == ["ok"] * 2 + ["error"] * 12
    errors = table["error"].to_pylist()[::2]
    assert errors[:5] == [
        None,
        "the prompt is null",
        "the seed is not an integer but 'one'",
        "the seed -1 is outside 0 to 9223372036854775807",
        "no such image: gone.png",
    ]
    assert errors[5].startswith("image cannot be decoded: ")
    assert errors[6].startswith("not finite at timestep 101: dh_uncond")
    assert table["score"].null_count == 12


def test_prompt_longer_than_the_text_encoder_is_scanned_and_flagged(
    analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("m.parquet", prompt=["a city", "a " * 20])
    _, lines = run("m.parquet", "--model", analytic, "--step", 9, code=0, capsys=capsys)
    assert lines[0] == "memscan: done: 2 images: 2 ok, 0 with errors, 1 with truncated prompts"
    assert results("m.memscan")["truncated"].to_pylist() == [False, True]


def test_truncated_prompt_counts_once_for_each_image(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("m.parquet", prompt=["a city", "a " * 20], seed=[[1], [2, 3]])
    for word in ("done", "already complete"):
        _, lines = run("m.parquet", "--model", analytic, code=0, capsys=capsys)
        assert lines[0] == f"memscan: {word}: 3 images: 3 ok, 0 with errors, 2 with truncated prompts"


def test_few_prompts_with_many_seeds_are_many_parts(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("m.parquet", prompt=["a city", "a mug"], seed=[list(range(11)), list(range(6))])
    run("m.parquet", "--model", analytic, "--step", 9, "--part-rows", 2, code=0, capsys=capsys)
    found = {
        file.name: list(zip(*(pq.read_table(file)[name].to_pylist() for name in ("row", "seed")), strict=True))
        for file in sorted(Path("m.memscan/results").glob("*.parquet"))
    }
    assert found == {
        "part-00000.parquet": [(0, seed) for seed in range(8)],
        "part-00001.parquet": [(0, 8), (0, 9), (0, 10)],
        "part-00002.parquet": [(1, seed) for seed in range(6)],
    }


def test_bundle_without_baseline_leaves_its_maps_null(
    analytic_without_baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--prompt", "a city", "--model", analytic_without_baseline, "--step", 9, code=0, capsys=capsys)
    (row,) = results("prompts.memscan").to_pylist()
    assert row["dh_base_mean"] is row["ds_base_q99"] is None
    assert row["dh_uncond_q99"] == row["score"]


def test_maps_and_images_are_written_on_request(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("m.parquet", prompt=["a memorized city"], seed=[[3, 4]])
    _, lines = run("m.parquet", "--model", analytic, "--step", 9, "--maps", "--images", code=0, capsys=capsys)
    assert lines[-1] == "memscan: draw them: memscan show m.memscan"
    images = Path("m.memscan/images/00000")
    assert sorted(file.name for file in images.iterdir()) == ["00000000-3.png", "00000000-4.png"]
    assert Image.open(images / "00000000-3.png").size == (32, 32)
    maps = pq.read_table("m.memscan/maps").to_pylist()
    assert [(row["seed"], row["map"]) for row in maps] == [(seed, name) for seed in (3, 4) for name in MAPS]
    summary = results("m.memscan").to_pylist()[0]
    stored = np.frombuffer(maps[0]["data"], "<f2").reshape(8, 8)
    assert stored.max() == pytest.approx(summary["dh_uncond_max"], rel=2**-11)  # float16 keeps 11 bits
    mask = stored.astype(np.float32) >= summary["threshold"]
    assert mask.mean() == summary["mask_share"]


def test_masks_without_a_threshold_are_null_and_that_is_said(
    analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lines = run("--prompt", "a city", "--model", analytic, "--guidance", 3, code=0, capsys=capsys)
    assert lines[0] == (
        "memscan: no threshold of dh_uncond is calibrated at timestep 201, 101, 1 for these settings: "
        f"masks there are null, scores are not; `memscan calibrate {analytic}` finds thresholds for this model, "
        "--threshold VALUE gives one, and it is marked as uncalibrated"
    )
    table = results("prompts.memscan")
    assert table["calibrated"].unique().to_pylist() == [False]
    assert table["status"].unique().to_pylist() == ["ok"]
    for name in ("threshold", "mask", "mask_height", "mask_width", "mask_share"):
        assert table[name].null_count == len(table), name
    assert table["score"].null_count == 0


def test_a_threshold_given_makes_masks_that_are_not_calibrated(
    analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--prompt", "a city", "--model", analytic, "--guidance", 3, "--threshold", 0.2, code=0, capsys=capsys)
    table = results("prompts.memscan")
    assert table["threshold"].unique().to_pylist() == [np.float32(0.2)]
    assert table["calibrated"].unique().to_pylist() == [False]
    assert table["mask"].null_count == 0


def test_embedded_model_is_used_loudly_without_a_model(
    analytic: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "BUNDLE", analytic)
    _, lines = run("--prompt", "a city", code=0, capsys=capsys)
    assert lines[0] == (
        "memscan: TOY MODEL: no --model given: scanning the embedded toy, which knows only its own few captions"
    )
    assert lines[-1] == (
        "memscan: TOY MODEL: what was measured is the embedded toy, and says nothing about a model of yours"
    )


def test_dry_run_checks_everything_and_writes_nothing(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("m.parquet", prompt=["a city", None], seed=[[1, 2], [3]])
    out, lines = run("m.parquet", "--model", analytic, "--dry-run", code=0, capsys=capsys)
    assert out == ""
    assert lines == [
        "memscan: dry run: 2 rows, 3 images, 1 of them cannot be scanned",
        "memscan: cannot be scanned: row 1: the prompt is null",
        "memscan: model analytic, 10 steps of ddim, guidance 2.5, measured at step 7, 8, 9 with 8 hadamard probes",
        "memscan: derivative: exact",
        "memscan: price of an image in forward passes: 14 to sample, about 101 to measure "
        "(by count 5.6 a call of 4 tangents)",
        # The prompt's calls are for three metrics, those of none for one, the baseline's for two: 3 times 11.2 each.
        "memscan: of the measuring, for dh_uncond 44.8, dh_base 28, ds_base 16.8, h_cond 11.2; "
        "for nothing ds_uncond, guidance_norm, guidance_first, update_norm",
        "memscan: would write to m.memscan, by CPUExecutionProvider",
    ]
    assert not Path("m.memscan").exists()


def test_price_follows_what_is_measured(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def price(*options: object) -> str:
        _, lines = run("--prompt", "a mug", "--model", analytic, "--dry-run", *options, code=0, capsys=capsys)
        heading = "memscan: price of an image in forward passes: "
        (line,) = [line for line in lines if line.startswith(heading)]
        return line.removeprefix(heading).partition(" (")[0]

    # A step is 2 passes. 8 probes are two calls of 4 tangents, 2 (1 + 4 * 1.15) = 11.2 passes for each condition.
    assert price("--step", 9) == "18 to sample, about 34 to measure"
    assert price("--step", 0) == "0 to sample, about 34 to measure"
    assert price("--step", 0, "--images") == "18 to sample, about 34 to measure"  # eps of a step is measured
    assert price("--step", 0, "--step", 9) == "16 to sample, about 67 to measure"
    # Of what is free, one guided step at the measured state, which makes the masks' map too unless another is named.
    assert price("--step", 9, "--metrics", "free") == "18 to sample, about 2 to measure"
    assert price("--step", 9, "--metrics", "free", "--images") == "18 to sample, about 2 to measure"
    assert price("--step", 9, "--metrics", "free", "--mask-map", "dh_uncond") == "18 to sample, about 22 to measure"
    # Beside the three conditions one each for flipd and for the padding; once 2 for late noise, and four calls for
    # products; two looks into the denoiser, and 1 + 1.15 for the text.
    assert price("--step", 9, "--metrics", "all") == "18 to sample, about 85 to measure"
    # By the shallow derivative a call is 1 + 4 * 0.25 = 2 passes.
    assert price("--step", 9, "--derivative", "shallow") == "18 to sample, about 12 to measure"


def test_score_and_mask_are_two_settings(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--score", "flipd", "--mask-map", "h_cond", "--metrics", "free", "--step", 9)
    run("--prompt", "a memorized city", "--model", analytic, *options, code=0, capsys=capsys)
    (row,) = results("prompts.memscan").to_pylist()
    assert row["score"] == -row["flipd"] < 0
    assert row["h_cond_mean"] is not None
    assert row["dh_uncond_mean"] is None
    assert None not in (row["guidance_norm"], row["guidance_first"], row["update_norm"])
    opened = open_results(Path("prompts.memscan"))
    assert (opened.score_name, opened.mask_map) == ("flipd", "h_cond")
    _, lines = run("--prompt", "a memorized city", "--model", analytic, *options[2:], code=2, capsys=capsys)
    assert 'score_name was "flipd" and is "h_cond_q99" now' in lines[-1]


def test_a_given_image_has_no_score_of_sampling(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (32, 32), "red").save("red.png")
    write("m.parquet", prompt=["a mug", "a rug"], image=["red.png", None])
    run("m.parquet", "--model", analytic, "--step", 9, "--out", "maps", code=0, capsys=capsys)
    given, sampled = results("maps").to_pylist()
    assert (given["status"], given["guidance_norm"], given["guidance_first"], given["update_norm"]) == (
        "ok",
        *[None] * 3,
    )
    assert None not in (given["score"], sampled["guidance_norm"], sampled["guidance_first"], sampled["update_norm"])
    run("m.parquet", "--model", analytic, "--step", 9, "--score", "guidance_norm", code=3, capsys=capsys)
    given, sampled = results("m.memscan").to_pylist()
    assert given["error"] == "the score guidance_norm is of sampling, and this row brings its own image"
    assert sampled["score"] == sampled["guidance_norm"]


def test_dry_run_sees_the_run_that_the_output_holds(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--prompt", "a city", "--model", analytic)
    run(*arguments, code=0, capsys=capsys)
    _, lines = run(*arguments, "--dry-run", code=0, capsys=capsys)
    assert lines[-1] == "memscan: would continue the run in prompts.memscan, by CPUExecutionProvider"
    assert error(*arguments, "--dry-run", "--step", 9, capsys=capsys).startswith("prompts.memscan holds another run: ")


def test_examples_of_the_help_run(analytic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "BUNDLE", analytic)
    write("prompts.parquet", prompt=["a city"], kind=["none"])
    Path("prompts").mkdir()
    write("prompts/a.parquet", prompt=["a city"], kind=["none"])
    shutil.copytree(analytic, "sd14")
    examples = [line.strip() for line in (command.help or "").splitlines() if line.strip().startswith("memscan run")]
    assert len(examples) == 3
    for example in examples:
        assert invoke([*shlex.split(example)[1:], "--out", f"out-{len(example)}"]) == 0, example


def test_results_say_when_they_were_written(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In UTC, to the second; a clock that is set back while this runs would be the only other answer."""
    before = datetime.now(UTC).replace(microsecond=0)
    run("--prompt", "a city", "--model", analytic, "--step", 9, code=0, capsys=capsys)
    metadata = pq.read_schema("prompts.memscan/results/part-00000.parquet").metadata
    written = datetime.fromisoformat(metadata[b"memscan.written"].decode())
    assert before <= written <= datetime.now(UTC)
    assert written.utcoffset() == timedelta(0)
