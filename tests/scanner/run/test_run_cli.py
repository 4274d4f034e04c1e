"""`memscan run` as its users meet it: what it says, its exit codes, and every kind of bad input."""

import json
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from memscan.scanner import embedded
from memscan.scanner.cli import cli, invoke
from memscan.scanner.commands.run import command
from memscan.scanner.metrics.catalogue import MAPS, METRICS
from memscan.scanner.results.reader import open_results
from memscan.scanner.results.run_record import adopt_record
from memscan.scanner.results.schema import COLUMNS
from memscan.scanner.run import runner
from memscan.scanner.scanning.scanner import Scanner


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, **columns: Any) -> str:
    pq.write_table(pa.table(columns), name)
    return name


def results(out: str) -> pa.Table:
    return pq.read_table(Path(out) / "results")


def run(*arguments: object, code: int, capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    """stdout, and the lines of stderr."""
    capsys.readouterr()
    assert invoke(["run", *map(str, arguments)]) == code
    printed = capsys.readouterr()
    return printed.out, printed.err.splitlines()


def error(*arguments: object, code: int = 2, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a run that failed."""
    out, lines = run(*arguments, code=code, capsys=capsys)
    assert out == ""
    assert len(lines) == 1
    return lines[0].removeprefix("memscan: error: ")


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


def test_run_stops_at_too_many_errors_with_the_first_reasons(
    analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("m.parquet", prompt=["a city", None, "a rug", " ", "a broken mug", None, "a mug"])
    arguments = ("m.parquet", "--model", analytic, "--step", 9, "--part-rows", 1, "--batch-size", 1)
    line = error(*arguments, "--max-errors", 2, code=3, capsys=capsys)
    assert line.startswith(
        "3 images failed, more than --max-errors 2: the prompt is null; the prompt is empty; not finite at timestep 1"
    )
    assert results("m.memscan")["row"].to_pylist() == [0, 1, 2, 3, 4]
    assert not Path("m.memscan/results/_SUCCESS").exists()
    _, lines = run(*arguments, "--max-errors", 2, code=3, capsys=capsys)
    assert lines[:1] == ["memscan: 5 of 7 images are done already"]
    assert "3 images failed, more than --max-errors 2: the prompt is null; the prompt is empty; not fin" in lines[1]
    run(*arguments, "--max-errors", 4, code=3, capsys=capsys)
    assert Path("m.memscan/results/_SUCCESS").exists()


def test_truncated_prompt_counts_once_for_each_image(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("m.parquet", prompt=["a city", "a " * 20], seed=[[1], [2, 3]])
    for word in ("done", "already complete"):
        _, lines = run("m.parquet", "--model", analytic, code=0, capsys=capsys)
        assert lines[0] == f"memscan: {word}: 3 images: 3 ok, 0 with errors, 2 with truncated prompts"


def test_old_name_of_an_option_says_the_new_one(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = run("--prompt", "a city", "--model", analytic, "--shard-rows", 3, code=2, capsys=capsys)
    assert lines[-1] == "Error: --shard-rows is called --part-rows now"


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


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_manifest_that_shrinks_while_it_is_scanned_completes_nothing(
    name: str, analytic: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_rows(count: int) -> None:
        table = pa.table({"prompt": [f"a city {number}" for number in range(count)]})
        if name == "m.csv":
            pa_csv.write_csv(table, name)
        else:
            pq.write_table(table, name, row_group_size=2)

    def shrink(*arguments: Any) -> Any:
        write_rows(5)
        return adopt_record(*arguments)

    write_rows(12)
    with monkeypatch.context() as patched:
        patched.setattr(runner, "adopt_record", shrink)  # the first thing that is done after the rows were counted
        line = error(name, "--model", analytic, "--step", 9, "--part-rows", 3, "--out", "out", capsys=capsys)
    assert "changed while it was" in line
    assert {file.name for file in Path("out/results").glob("*")} <= {"part-00000.parquet"}
    write_rows(12)
    run(name, "--model", analytic, "--step", 9, "--part-rows", 3, "--out", "out", code=0, capsys=capsys)
    assert results("out")["row"].to_pylist() == list(range(12))


def test_images_that_are_lost_on_the_way_complete_nothing(
    analytic: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Scanner.scan
    monkeypatch.setattr(Scanner, "scan", lambda scanner, prepared: original(scanner, prepared[1:]))
    line = error("--prompt", "a city", "--prompt", "a mug", "--model", analytic, code=1, capsys=capsys)
    assert line == "part 0 came out with 1 images in place of 2: it is not kept; run the same command again"
    assert not Path("prompts.memscan/results").exists()


def test_bundle_without_baseline_leaves_its_maps_null(
    analytic_without_baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--prompt", "a city", "--model", analytic_without_baseline, "--step", 9, code=0, capsys=capsys)
    (row,) = results("prompts.memscan").to_pylist()
    assert row["dh_base_mean"] is row["ds_base_q99"] is None
    assert row["dh_uncond_mean"] == row["score"]


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
        "masks there are null, scores are not; --threshold VALUE gives one, and it is marked as uncalibrated"
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
        "memscan: model analytic, 10 steps of ddim, guidance 2.5, measured at step 7, 8, 9 with 8 hadamard probes",
        "memscan: price of an image in forward passes: 18 to sample, about 101 to measure "
        "(by estimate 1 a call, and 1.15 for each of its 4 tangents)",
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
    assert price("--step", 0, "--images") == "20 to sample, about 34 to measure"
    assert price("--step", 9, "--metrics", "free") == "18 to sample, about 22 to measure"  # the mask's map
    assert price("--step", 9, "--metrics", "free", "--mask-map", "ds_uncond") == "18 to sample, about 2 to measure"
    assert price("--step", 9, "--metrics", "all") == "18 to sample, about 45 to measure"


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
    assert 'score_name was "flipd" and is "h_cond_mean" now' in lines[-1]


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


def test_metrics_are_listed_from_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "--list-metrics"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[2:].split()[0] for line in lines] == list(METRICS)
    assert lines[0] == "* dh_uncond      map    curvature, less that without a prompt"
    assert lines[-1] == "  flipd          score  dimension of what could be drawn here: low if memorized"


def test_dry_run_sees_the_run_that_the_output_holds(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--prompt", "a city", "--model", analytic)
    run(*arguments, code=0, capsys=capsys)
    _, lines = run(*arguments, "--dry-run", code=0, capsys=capsys)
    assert lines[-1] == "memscan: would continue the run in prompts.memscan, by CPUExecutionProvider"
    assert error(*arguments, "--dry-run", "--step", 9, capsys=capsys).startswith("prompts.memscan holds another run: ")


def test_no_arguments_say_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    out, lines = run(code=2, capsys=capsys)
    assert out == ""
    assert lines[0] == "memscan: nothing to scan yet: give a manifest, or a prompt."
    assert "  memscan run manifest.parquet           scan a file with a column `prompt` (Parquet, CSV, JSONL)" in lines


def test_manifest_and_prompt_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = run("m.parquet", "--prompt", "a city", code=2, capsys=capsys)
    assert lines[-1] == "Error: give a MANIFEST or --prompt, not both"
    _, lines = run("--prompt", "a city", "--carry", "kind", code=2, capsys=capsys)
    assert lines[-1] == "Error: --carry needs a MANIFEST: a --prompt has no columns"


def test_bad_manifest_is_one_line(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ("--model", analytic)
    assert error("gone.parquet", *model, capsys=capsys) == "no such manifest: gone.parquet"
    Path("text.parquet").write_text("a mug")
    assert error("text.parquet", *model, capsys=capsys).startswith("text.parquet is not a Parquet file (")
    write("captions.parquet", caption=["a mug"])
    assert error("captions.parquet", *model, capsys=capsys) == (
        "captions.parquet has no column 'prompt'; its columns are: caption; say which with --prompt-column"
    )
    write("empty.parquet", prompt=pa.array([], pa.string()))
    assert error("empty.parquet", *model, capsys=capsys) == "empty.parquet has no rows"
    write("m.parquet", prompt=["a mug"], score=[1.0])
    assert error("m.parquet", *model, "--carry", "score", capsys=capsys) == (
        "column 'score' cannot be carried: the results have a column of that name; rename it"
    )
    assert not list(Path().glob("*.memscan"))


def test_manifest_that_breaks_in_the_middle_is_refused_before_work_begins(
    analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [f"a city {i}" for i in range(300)]
    pq.write_table(pa.table({"prompt": prompts}), "m.parquet", row_group_size=100, write_page_checksum=True)
    content = bytearray(Path("m.parquet").read_bytes())
    content[pq.read_metadata("m.parquet").row_group(2).column(0).data_page_offset + 60] ^= 1
    Path("m.parquet").write_bytes(content)
    line = error("m.parquet", "--model", analytic, capsys=capsys)
    assert line.startswith("m.parquet: row group 2 cannot be read (")
    assert not Path("m.memscan").exists()


def test_bad_bundle_is_one_line(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = Path("bundle")
    prompt = ("--prompt", "a city", "--model", "bundle")
    assert error(*prompt, capsys=capsys) == "no bundle at bundle: make one with `memscan export MODEL bundle`"
    bundle.mkdir()
    assert error(*prompt, capsys=capsys) == (
        "bundle is not a bundle: it has no bundle.json; make one with `memscan export`"
    )
    shutil.copytree(analytic, bundle, dirs_exist_ok=True)
    (bundle / "step.onnx").write_bytes((bundle / "step.onnx").read_bytes() + b"\0")
    assert error(*prompt, capsys=capsys) == (
        "bundle was altered: step.onnx does not have the recorded digest; export the model again"
    )
    (bundle / "step.onnx").unlink()
    assert error(*prompt, "--no-verify", capsys=capsys) == (
        "bundle is incomplete: step.onnx is missing; export the model again"
    )
    record = json.loads((bundle / "bundle.json").read_text())
    for version in (2, 99):
        (bundle / "bundle.json").write_text(json.dumps(record | {"format_version": version}))
        assert error(*prompt, capsys=capsys) == (
            f"bundle has bundle format {version}, this memscan reads 3: export the model again"
        )


def test_altered_bundle_can_be_used_unverified(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(analytic, "bundle")
    with Path("bundle/tokenizer.json").open("a") as stream:
        stream.write("\n")
    run("--prompt", "a city", "--model", "bundle", "--no-verify", "--step", 9, code=0, capsys=capsys)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--step", 10], "--step 10: 10 inference steps have the indices 0 to 9"),
        (["--timestep", 2], "--timestep 2 is none of the sampler's 10; near it are 301, 201, 101, 1"),
        (["--mask-map", "h"], "--mask-map h: expected one of dh_uncond, dh_base, ds_uncond, ds_base, h_cond"),
        (
            ["--metrics", "h_cond,x"],
            "--metrics x: expected all, free, or some of dh_uncond, dh_base, ds_uncond, ds_base, h_cond, "
            "guidance_norm, guidance_first, update_norm, flipd",
        ),
        (["--num-inference-steps", 0], "0 inference steps: the model has 1 to 1000"),
        (["--num-probes", 0], "0 probes: at least one is needed"),
    ],
)
def test_bad_measurement_is_one_line(
    options: list[object], line: str, analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert error("--prompt", "a city", "--model", analytic, *options, capsys=capsys) == line


def test_help_groups_every_option() -> None:
    result = CliRunner().invoke(cli, ["run", "--help"])
    assert result.exit_code == 0
    for heading in ("Input:", "Model:", "Measurement:", "Output:", "Execution:", "Other:"):
        assert f"\n{heading}\n" in result.output
    other = result.output.partition("\nOther:\n")[2].splitlines()
    assert [line.split()[0] for line in other] == ["-h,"]
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.opts[-1] in result.output


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


def test_help_of_run_imports_nothing_heavy() -> None:
    program = """
import sys
from datetime import UTC, datetime, timedelta
from memscan.scanner.cli import invoke
invoke(["run", "--help"])
invoke(["run"])
heavy = {"numpy", "pyarrow", "onnxruntime", "tokenizers", "PIL", "tqdm", "torch"}
print(*sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == ""


def test_results_say_when_they_were_written(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In UTC, to the second; a clock that is set back while this runs would be the only other answer."""
    before = datetime.now(UTC).replace(microsecond=0)
    run("--prompt", "a city", "--model", analytic, "--step", 9, code=0, capsys=capsys)
    metadata = pq.read_schema("prompts.memscan/results/part-00000.parquet").metadata
    written = datetime.fromisoformat(metadata[b"memscan.written"].decode())
    assert before <= written <= datetime.now(UTC)
    assert written.utcoffset() == timedelta(0)
