"""`memscan run`'s options of input, from the command line to the rows."""

import io
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from memscan.scanner.cli import invoke


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lines(*arguments: object, code: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert invoke(["run", *map(str, arguments)]) == code
    return capsys.readouterr().err.splitlines()


def test_options_reach_the_rows(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.dat").write_bytes("Text;N;Key;Kind;Pic\ncaf\u00e9;7;x;k;\n".encode("cp1252"))
    options = ("--format", "csv", "--delimiter", ";", "--encoding", "cp1252", "--prompt-column", "text")
    options += ("--seed-column", "n", "--id-column", "key", "--image-column", "pic", "--image-root", ".")
    lines("m.dat", *options, "--carry", "kind", "--out", "o", "--model", analytic, "--step", 9, code=0, capsys=capsys)
    (row,) = pq.ParquetFile("o/results/part-00000.parquet").read().to_pylist()
    assert (row["prompt"], row["seed"], row["id"], row["kind"]) == ("caf\u00e9", 7, "x", "k")


def test_what_is_not_used_is_said_by_run_and_dry_run(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.csv").write_text("prompt,seeds,\x1b[31mred\na mug,7,1\n")
    for options in (["--dry-run"], []):
        said = lines("m.csv", "--model", analytic, "--step", 9, *options, code=0, capsys=capsys)
        assert "memscan: column 'seeds' is not read as seed: if it is, say --seed-column seeds" in said
        assert "memscan: columns not used: seeds, \\x1b[31mred" in said


def test_several_manifests_and_standard_input(
    analytic: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        Path(f"{name}.txt").write_text(f"{name} mug\n")
    model = ("--model", analytic, "--dry-run")
    assert lines("a.txt", "b.txt", *model, code=0, capsys=capsys)[0].startswith("memscan: dry run: 2 rows, 2 images")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a mug\na cup\na city\n")))
    assert lines("-", *model, code=0, capsys=capsys)[0].startswith("memscan: dry run: 3 rows, 3 images")


def test_bad_input_options_are_one_line(analytic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.csv").write_text("prompt\na mug\n")
    for option, value in (("--delimiter", ";;"), ("--encoding", "klingon"), ("--image-root", "gone")):
        (line,) = lines("m.csv", option, value, "--model", analytic, code=2, capsys=capsys)
        assert line.startswith(f"memscan: error: {option} ")
