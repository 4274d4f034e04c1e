"""A run of seconds for the tests of commit and resume: its manifest, its command, and what a reader sees of it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.cli import invoke

ROWS: list[dict[str, Any]] = [
    {"prompt": "a memorized poster", "seed": [1]},
    {"prompt": "a city", "seed": [2, 3]},
    {"prompt": None, "seed": [4]},
    {"prompt": "a copied mug", "seed": [5]},
    {"prompt": "a red rug", "seed": [6]},
    {"prompt": "a broken phone", "seed": [7]},
    {"prompt": "a blue forest", "seed": [8]},
]
"""Three parts of three rows; among them an error row, and one whose maps are not finite."""

STEPS = (7, 8, 9)
"""Indices of the analytic bundle's default timesteps."""


def write_manifest(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as a Parquet manifest."""
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def command(manifest: Path, model: Path, out: Path) -> list[str]:
    """Arguments of a run with maps and images, in parts of three rows, which are two batches each but for the last."""
    return [
        *("run", str(manifest), "--model", str(model), "--out", str(out)),
        *("--maps", "--images", "--part-rows", "3", "--batch-size", "2", "--threads", "1"),
    ]


def contents(out: Path) -> dict[str, Any]:
    """All that a reader sees of a run, by file; checks that it is marked as finished and that nothing is left over."""
    assert (out / "results" / "_SUCCESS").read_bytes() == b""
    assert temporary(out) == []
    return visible(out)


def temporary(out: Path) -> list[Path]:
    """Files that are being written, or were left so."""
    return [file for file in (out / "_memscan" / "tmp").rglob("*") if file.is_file()]


def visible(out: Path) -> dict[str, Any]:
    """All that a reader sees of a run, by file, but for when rows were scanned; a file must be whole to be read."""
    tables = {
        f"{file.parent.name}/{file.name}": without_time(pq.read_table(file, page_checksum_verification=True))
        for kind in ("results", "maps")
        for file in sorted((out / kind).iterdir() if (out / kind).exists() else ())
        if file.name != "_SUCCESS"
    }
    images = {str(file.relative_to(out)): file.read_bytes() for file in sorted((out / "images").rglob("*.png"))}
    assert all(content.endswith(b"IEND\xaeB`\x82") for content in images.values())
    return tables | images


def without_time(table: pa.Table) -> dict[str, Any]:
    """The columns but for when each row was scanned."""
    return {name: column for name, column in table.to_pydict().items() if name != "scanned_at"}


def error_line(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a command that must end with `code`, without having written anything to stdout."""
    capsys.readouterr()
    assert invoke(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if line.startswith("memscan: error: ")]
    return line.removeprefix("memscan: error: ")


def lines(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a command that must end with `code` says on stderr."""
    capsys.readouterr()
    assert invoke(arguments) == code
    return capsys.readouterr().err.splitlines()


def set_aside(out: Path) -> set[Path]:
    """Files that were torn, or that nothing names."""
    return {file for file in (out / "_memscan" / "damaged").rglob("*") if file.is_file()}
