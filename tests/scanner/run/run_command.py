"""`memscan run` within this process: its output, the lines of its log, and its results."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.cli import invoke


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
