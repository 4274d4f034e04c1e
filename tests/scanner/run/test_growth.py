"""A manifest that gains rows at its end goes on from where it was; one without rows is a run like any other."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.results.reader import open_results
from tests.scanner.run.small_run import ROWS, STEPS, command, contents, error_line, lines, visible, write_manifest

MORE: list[dict[str, Any]] = [{"prompt": "a vase", "seed": [3]}, {"prompt": "a lamp", "seed": [4, 5]}]


@pytest.mark.parametrize("held", range(8))
def test_rows_that_are_added_are_scanned_and_no_others(
    held: int, analytic: Path, tmp_path: Path, finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(write_manifest(tmp_path / "m.parquet", ROWS), analytic, tmp_path / "out")
    if held:
        write_manifest(tmp_path / "m.parquet", ROWS[:held])
    else:
        pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "m.parquet")
    assert invoke(arguments) == (3 if held > 2 else 0)
    before = visible(tmp_path / "out")
    write_manifest(tmp_path / "m.parquet", ROWS)
    done = sum(len(row["seed"]) for row in ROWS[:held])
    said = lines(arguments, 3, capsys)
    if 0 < held < 7:
        assert f"memscan: {done} of 8 images are done already" in said
    found, whole = contents(tmp_path / "out"), contents(finished_run)
    assert found.keys() == whole.keys()
    for name, table in before.items():
        if name.startswith("images/"):
            assert found[name] == table
        elif name.startswith("results/"):
            kept = len(table["row"])
            assert {column: values[:kept] for column, values in found[name].items()} == table
    for name in (name for name in whole if not name.startswith("images/")):
        keys = [column for column in ("row", "seed", "step_index", "map", "prompt", "status") if column in whole[name]]
        rows, wanted = (set(zip(*(of[name][key] for key in keys), strict=True)) for of in (found, whole))
        assert rows == wanted
        assert len(found[name]["row"]) == len(rows)


def test_a_partition_that_is_added_goes_on(analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = tmp_path / "lake"
    for day, rows in (("2026-01-01", ROWS[:2]), ("2026-01-02", MORE)):
        (lake / f"date={day}").mkdir(parents=True)
        write_manifest(lake / f"date={day}" / "part-0.parquet", rows)
        arguments = ["run", f"{lake}/**/*.parquet", "--model", str(analytic), "--out", str(tmp_path / "out")]
        said = lines([*arguments, "--carry", "date", "--step", "9"], 0, capsys)
    assert "memscan: 3 of 6 images are done already" in said
    table = pq.read_table(tmp_path / "out" / "results")
    assert table["date"].to_pylist() == ["2026-01-01"] * 3 + ["2026-01-02"] * 3


def test_an_earlier_partition_that_is_added_is_refused(
    analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    write_manifest(lake / "b.parquet", ROWS[:2])
    arguments = ["run", str(lake), "--model", str(analytic), "--out", str(tmp_path / "out")]
    assert invoke(arguments) == 0
    write_manifest(lake / "a.parquet", MORE)
    assert error_line(arguments, 2, capsys).startswith("row 0 differs from the one that ")


def empty(path: Path) -> Path:
    """A manifest without rows, in the format of its name."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"prompt": pa.array([], pa.string()), "k": pa.array([], pa.int32())}), path)
    else:
        path.write_text({".csv": "prompt,k\n", ".jsonl": "", ".txt": ""}[path.suffix])
    return path


@pytest.mark.parametrize("name", ["m.parquet", "m.csv", "m.jsonl", "m.txt"])
def test_an_empty_manifest_is_a_success_said_in_one_line(
    name: str, analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*arguments: Any) -> Any:
        raise AssertionError("no engine is needed for nothing")

    monkeypatch.setattr("memscan.scanner.run.runner.open_graphs", opened)
    manifest, out = empty(tmp_path / name), tmp_path / "out"
    arguments = command(manifest, analytic, out) + (["--carry", "k"] if name != "m.txt" else [])
    for _ in range(2):
        assert lines(arguments, 0, capsys) == ["memscan: done: the manifest has no rows, so there was nothing to scan"]
        tables = contents(out)
        assert {file: len(table["row"]) for file, table in tables.items()} == {
            "maps/part-00000.parquet": 0,
            "results/part-00000.parquet": 0,
        }
    results = open_results(out)
    assert results.is_empty
    assert results.finished
    assert results.table.num_rows == 0
    assert ("k" in results.table.column_names) == (name != "m.txt")
    full = pq.read_schema(out / "results" / "part-00000.parquet")
    assert results.table.schema.remove_metadata() == full.remove_metadata()


def test_an_empty_manifest_is_said_in_a_dry_run(
    analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*command(empty(tmp_path / "m.parquet"), analytic, tmp_path / "out"), "--carry", "k", "--dry-run"]
    assert lines(arguments, 0, capsys) == ["memscan: dry run: the manifest has no rows, so there is nothing to scan"]
    assert not (tmp_path / "out").exists()


def test_readers_of_an_empty_run_say_so_in_one_line(
    analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert invoke(command(empty(tmp_path / "m.parquet"), analytic, out)) == 0
    assert lines(["show", str(out)], 0, capsys) == [f"memscan: nothing to draw in {out}: its manifest had no rows"]
    assert lines(["eval", str(out), "--ground-truth", "testbed", "--json", str(tmp_path / "f.json")], 0, capsys) == [
        f"memscan: nothing to evaluate in {out}: its manifest had no rows"
    ]
    assert json.loads((tmp_path / "f.json").read_text()) == {
        "localization": [],
        "detection": [],
        "notes": [f"nothing to evaluate in {out}: its manifest had no rows"],
    }


def test_a_manifest_that_lost_its_rows_is_refused(
    arguments: list[str], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(empty(tmp_path / "empty.parquet"), tmp_path / "m.parquet")
    before = contents(out)
    assert error_line(arguments, 2, capsys).startswith("row 0 differs from the one that ")
    assert contents(out) == before


def test_an_empty_file_among_others_is_no_matter(analytic: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    pq.write_table(pa.table({"prompt": pa.array([], pa.null())}), lake / "a.parquet")  # as pandas writes no rows
    write_manifest(lake / "b.parquet", ROWS[:2])
    assert invoke(["run", str(lake), "--model", str(analytic), "--out", str(tmp_path / "out")]) == 0
    assert pq.read_table(tmp_path / "out" / "results").num_rows == 3 * len(STEPS)
