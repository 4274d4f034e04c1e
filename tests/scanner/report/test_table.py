"""`memscan table` and `memscan top`: what a spreadsheet and a terminal make of prompts that attack them."""

import csv
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.report import table as table_module
from memscan.scanner.samples import Rejected
from tests.scanner.report.pages import SCRIPTS, level, plain_results
from tests.scanner.results.fabricated import scanned, with_column, write_results

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\uff1d1", "\uff20x")


def written(tmp_path: Path, prompts: tuple[str, ...]) -> Path:
    items = [
        scanned(row, prompt, level(0.1 * row), id=prompt, carried={"=count": 2**60, "note": prompt})
        for row, prompt in enumerate(prompts)
    ]
    failed = Rejected(len(prompts), 0, None, "=prompt is null")
    return write_results(
        tmp_path / "out", [*items, failed], save_maps=False, carried={"=count": pa.int64(), "note": pa.string()}
    )


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def test_formulas_stay_text_in_csv(tmp_path: Path) -> None:
    assert invoke(["table", str(written(tmp_path, FORMULAS)), "--csv", str(tmp_path / "t.csv")]) == 0
    rows = read_csv(tmp_path / "t.csv")
    assert [row["prompt"] for row in rows] == [*(f"'{prompt}" for prompt in FORMULAS), ""]
    assert rows[-1]["error"] == "'=prompt is null"
    assert "'=count" in rows[0]
    assert {row["note"] for row in rows[:-1]} == {f"'{prompt}" for prompt in FORMULAS}


def test_formulas_are_text_in_xlsx(tmp_path: Path) -> None:
    file = tmp_path / "t.xlsx"
    assert invoke(["table", str(written(tmp_path, FORMULAS)), "--xlsx", str(file)]) == 0
    heading, *rows = openpyxl.load_workbook(file)["results"].iter_rows()
    names = [cell.value for cell in heading]
    cells = [row[names.index("prompt")] for row in rows[:-1]]
    assert [cell.value.replace("_x000D_", "\r") for cell in cells] == list(FORMULAS)  # as XLSX spells it
    assert {cell.data_type for cell in (cell for row in rows for cell in row)} <= {"s", "n", "b"}
    assert rows[0][names.index("=count")].value == str(2**60)


def test_values_are_those_of_the_results(tmp_path: Path) -> None:
    """float32 is written as the shortest decimals that mean it; masks are left out, the flag is beside the score."""
    folder = plain_results(tmp_path / "out", {"low": 0.1, "high": 0.9, **dict.fromkeys(SCRIPTS, 0.5)})
    files = [tmp_path / "t.csv", tmp_path / "t.xlsx"]
    assert invoke(["table", str(folder), "--csv", str(files[0]), "--xlsx", str(files[1])]) == 0
    rows = read_csv(files[0])
    assert [(row["score"], row["flagged"]) for row in rows[:2]] == [("0.1", "False"), ("0.9", "True")]
    assert [row["prompt"] for row in rows[2:]] == list(SCRIPTS)
    assert not {"mask", "mask_height", "mask_width"} & rows[0].keys()
    heading, *cells = openpyxl.load_workbook(files[1])["results"].iter_rows(values_only=True)
    assert list(heading) == list(rows[0])
    first = dict(zip(heading, cells[0], strict=True))
    assert (first["score"], first["flagged"], first["prompt"]) == (0.1, False, "low")


def test_sheet_that_is_too_small_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(table_module, "MOST_ROWS", 2)
    folder = plain_results(tmp_path / "out", {"a": 0.1, "b": 0.2, "c": 0.3})
    assert invoke(["table", str(folder), "--xlsx", str(tmp_path / "t.xlsx")]) == 2
    assert "a sheet holds 2 rows, and these are 3: choose --step or --csv" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out"]


def test_what_fails_leaves_the_old_file_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plain_results(tmp_path / "out", {"a": 0.1})
    (tmp_path / "t.csv").write_text("mine")
    assert invoke(["table", str(folder), "--csv", str(tmp_path / "t.csv"), "--step", "3"]) == 2
    assert capsys.readouterr().err.startswith("memscan: error: step 3 was not measured")
    assert (tmp_path / "t.csv").read_text() == "mine"
    assert invoke(["table", str(folder), "--csv", str(tmp_path / "none" / "t.csv")]) == 2
    assert "choose another --csv" in capsys.readouterr().err


def test_neither_form_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["table", str(plain_results(tmp_path / "out", {"a": 0.1}))]) == 2
    assert "give --csv FILE, --xlsx FILE or both" in capsys.readouterr().err


def test_top_prints_the_highest_scores_and_nothing_steers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = {"low": 0.1, "\x1b[31mred \u202e": 0.9, "一只狐狸" * 40: 0.6}
    assert invoke(["top", str(plain_results(tmp_path / "out", prompts)), "-n", "2"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["score", "mask", "row", "seed", "prompt"]
    assert first.split(maxsplit=5) == ["0.900", "100%", "flagged", "1", "0", "\\x1b[31mred \\u202e"]
    assert second.endswith("...")
    assert "\x1b" not in first + second
    wide = sum(character > "\u2e80" for character in second)
    assert len(second) + wide <= 100


def test_top_shows_p_values_where_there_are_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_column(plain_results(tmp_path / "out", {"a": 0.9}), "p_value", [0.25], pa.float32())
    assert invoke(["top", str(folder)]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[1] == "p-value"
    assert row.split()[1:] == ["0.25", "100%", "0", "0", "a"]
