"""What a run finds in its output folder: another run, other rows, damage, another process. Nothing is mixed up."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memscan.scanner.cli import invoke
from memscan.scanner.results.store import LocalStore
from memscan.scanner.run.share import Share, claimed
from tests.scanner.run.small_run import ROWS, contents, error_line, lines, write_manifest


def test_finished_run_is_left_alone(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.p*")}
    first, *_ = lines(arguments, 3, capsys)
    assert first == "memscan: already complete: 8 images: 6 ok, 2 with errors, 0 with truncated prompts"
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.p*")} == before


@pytest.mark.parametrize(
    ("option", "change"),
    [
        (["--guidance", "3"], "guidance_scale was 2.5 and is 3.0 now"),
        (["--step", "9"], "steps.index was [7, 8, 9] and is [9] now"),
        (["--probe-seed", "5"], "probes.seed was 0 and is 5 now"),
        (["--threshold", "0.4"], "steps.threshold was [0.1, 0.1, 0.1] and is [0.4, 0.4, 0.4] now"),
        (["--rng", "cuda"], 'stream was "cpu" and is "cuda" now'),
    ],
)
def test_another_run_is_refused_naming_the_field(
    option: list[str], change: str, arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_line([*arguments, *option], 2, capsys)
    assert line.startswith(f"{out} holds another run: ")
    assert change in line
    assert line.endswith(": choose another --out")


def test_another_model_is_refused(
    arguments: list[str], analytic: Path, analytic_without_baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [str(analytic_without_baseline) if word == str(analytic) else word for word in arguments]
    old, new = (
        hashlib.sha256((path / "bundle.json").read_bytes()).hexdigest()[:12]
        for path in (analytic, analytic_without_baseline)
    )
    assert f"bundle was {old}... and is {new}... now" in error_line(other, 2, capsys)


@pytest.mark.parametrize(
    ("change", "row", "how"),
    [
        (lambda rows: [*rows[:3], rows[3] | {"prompt": "x"}, *rows[4:]], 3, "prompt was 'a copied mug' and is 'x'"),
        (lambda rows: [*rows[:3], rows[3] | {"seed": [9]}, *rows[4:]], 3, "seed was [5] and is [9]"),
        (lambda rows: [*rows[:4], rows[4] | {"seed": [6, 9]}, *rows[5:]], 4, "seed was [6] and is [6, 9]"),
        (lambda rows: [*rows[:6], rows[6] | {"seed": [8, 9]}], 6, "seed was [8] and is [8, 9]"),
        (lambda rows: [rows[0] | {"id": "x"}, *rows[1:]], 0, "id was None and is 'x'"),
        (lambda rows: [rows[1], rows[0], *rows[2:]], 0, "prompt was 'a memorized poster' and is 'a city'"),
        (lambda rows: [*rows[:5], *rows[4:]], 5, "prompt was 'a broken phone' and is 'a red rug'"),
        (lambda rows: [*rows[:2], rows[2] | {"prompt": "a vase"}, *rows[3:]], 2, "prompt was None and is 'a vase'"),
    ],
    ids=["prompt", "seed", "seed added", "seed added at the end", "id", "order", "row inserted", "prompt mended"],
)  # fmt: skip
@pytest.mark.parametrize("retry", [[], ["--retry-errors"]], ids=["", "retry"])
def test_changed_rows_are_refused_naming_row_and_column(
    change: Any,
    row: int,
    how: str,
    retry: list[str],
    arguments: list[str],
    out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_manifest(tmp_path / "m.parquet", change(ROWS))
    assert error_line([*arguments, *retry], 2, capsys) == (
        f"row {row} differs from the one that {out} holds results of, its {how}: "
        "restore the manifest, or choose another --out"
    )


@pytest.mark.parametrize(("count", "said"), [(6, "rows 6 to 6 differ from those"), (5, "row 5 differs from the one")])
def test_rows_that_are_gone_are_refused(
    count: int, said: str, arguments: list[str], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(tmp_path / "m.parquet", ROWS[:count])
    assert error_line(arguments, 2, capsys).startswith(f"{said} ")


def test_rows_that_were_not_scanned_yet_may_change(
    arguments: list[str], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "results" / "part-00002.parquet").unlink()
    (out / "results" / "_SUCCESS").unlink()
    write_manifest(tmp_path / "m.parquet", [*ROWS[:6], {"prompt": "a rug", "seed": [1]}])
    assert lines(arguments, 3, capsys)[0] == "memscan: 7 of 8 images are done already"
    assert contents(out)["results/part-00002.parquet"]["prompt"] == ["a rug"] * 3


def test_changed_image_is_refused(analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    manifest = write_manifest(tmp_path / "images.parquet", [{"prompt": "a mug", "image": "a.png"}])
    arguments = ["run", str(manifest), "--model", str(analytic), "--out", str(tmp_path / "image-out")]
    assert invoke(arguments) == 0
    Image.new("RGB", (32, 32), "blue").save(tmp_path / "a.png")
    assert error_line(arguments, 2, capsys).startswith(
        f"row 0 differs from the one that {tmp_path / 'image-out'} holds results of, its image is another one: "
    )


def test_changed_type_of_a_carried_column_is_refused(
    analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, folder = tmp_path / "carried.parquet", tmp_path / "carried-out"
    arguments = ["run", str(manifest), "--model", str(analytic), "--out", str(folder), "--carry", "n"]
    for kind, code in ((pa.int32(), 0), (pa.int64(), 2)):
        pq.write_table(pa.table({"prompt": ["a mug"], "n": pa.array([1], kind)}), manifest)
        if code == 0:
            assert invoke(arguments) == code
    part = folder / "results" / "part-00000.parquet"
    assert error_line(arguments, 2, capsys) == f"{part} has another type of column 'n': choose another --out"


def test_run_of_another_schema_is_refused(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = out / "_memscan" / "run.json"
    held = json.loads(record.read_text())
    record.write_text(json.dumps(held | {"schema_version": 0}))
    assert error_line(arguments, 2, capsys) == (
        f"{out} holds another run: schema_version was 0 and is {held['schema_version']} now: choose another --out"
    )
    del held["part_rows"]
    record.write_text(json.dumps(held | {"shard_rows": 3}))
    assert error_line(arguments, 2, capsys) == (
        f"{out} holds a run of another version of memscan, or one whose record is damaged (shard_rows is not known): "
        "choose another --out"
    )


def test_altered_weights_are_refused_on_resume_though_unverified(
    analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder = tmp_path / "model", tmp_path / "unverified"
    shutil.copytree(analytic, model)
    manifest = write_manifest(tmp_path / "m.parquet", ROWS[:1])
    arguments = ["run", str(manifest), "--model", str(model), "--out", str(folder), "--threads", "1"]
    assert invoke([*arguments, "--no-verify"]) == 0
    assert json.loads((folder / "_memscan" / "run.json").read_text())["verified"] is False
    assert invoke(arguments) == 0
    with (model / "vae_decoder.onnx").open("ab") as stream:
        stream.write(b"\xfa\x01\0")  # an empty field that nobody knows: the graph is still one
    line = error_line([*arguments, "--no-verify"], 2, capsys)
    assert line.startswith(f"{folder} holds another run: the bundle's file vae_decoder.onnx was ")
    assert line.endswith("... now: choose another --out")


def test_lost_record_is_found_in_the_results(
    arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = out / "_memscan" / "run.json"
    written = record.read_bytes()
    for damaged in (None, b"", b"[]"):
        if damaged is None:
            record.unlink()
        else:
            record.write_bytes(damaged)
        assert "guidance_scale" in error_line([*arguments, "--guidance", "3"], 2, capsys)
        assert lines(arguments, 3, capsys)[0].startswith("memscan: already complete: ")
        assert record.read_bytes() == written


def test_cut_of_a_run_is_kept(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "results" / "part-00001.parquet").unlink()
    arguments[arguments.index("--part-rows") + 1] = "100"
    assert lines(arguments, 3, capsys)[0] == f"memscan: {out} is cut into parts of 3 rows, and stays so"
    assert len(contents(out)["results/part-00001.parquet"]["row"]) == 9


def test_second_process_is_turned_away(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with claimed(LocalStore(out), Share(), pytest.fail):
        line = error_line(arguments, 1, capsys)
    assert line == f"another memscan is writing to {out}: wait until it ends, or choose another --out"
    assert invoke(arguments) == 3


def test_file_among_the_results_that_is_no_part_is_refused(
    arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine.parquet", "part-1.parquet"):
        stranger = out / "results" / name
        stranger.write_bytes(b"")
        assert error_line(arguments, 2, capsys) == (
            f"{stranger} is no file of a run, but would be read as one: move it away"
        )
        stranger.unlink()


def test_part_of_another_run_is_refused(
    arguments: list[str], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    assert invoke([*arguments, "--guidance", "3", "--out", str(other)]) == 3
    part = out / "results" / "part-00001.parquet"
    shutil.copy(other / "results" / part.name, part)
    assert error_line(arguments, 2, capsys) == f"{part} is of another run than the rest of its folder: move it away"


def test_output_that_cannot_be_written_is_refused(
    arguments: list[str], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    arguments[arguments.index("--out") + 1] = str(file / "out")
    assert error_line(arguments, 2, capsys) == f"cannot write to {file}/out (Not a directory): choose another --out"
    arguments[arguments.index("--out") + 1] = str(file)
    assert error_line(arguments, 2, capsys) == f"cannot write to {file} (Not a directory): choose another --out"


def test_record_says_what_the_run_was(out: Path, analytic: Path) -> None:
    record = json.loads((out / "_memscan" / "run.json").read_text())
    assert (record["part_rows"], record["part_images"], record["verified"]) == (3, 12, True)
    assert record["files"]["step.onnx"] == hashlib.sha256((analytic / "step.onnx").read_bytes()).hexdigest()
    assert record["settings"]["guidance_scale"] == 2.5
    metadata = pq.read_schema(out / "results" / "part-00000.parquet").metadata
    assert json.loads(metadata[b"memscan.run"]) == record
    assert metadata[b"memscan.fingerprint"].decode() == record["fingerprint"]
    assert metadata[b"memscan.latent_channels"] == b"4"
    assert json.loads(metadata[b"memscan.thresholds"]) == [
        {"map": "dh_uncond", "timestep": timestep, "threshold": 0.1} for timestep in (201, 101, 1)
    ]
