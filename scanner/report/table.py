"""Results as a table for spreadsheets, CSV or XLSX, a few thousand rows at a time.

Masks are left out: `mask_share` says how much they cover. Spreadsheets take text that begins with `=`, `+`, `-` or `@`
for a formula, which a prompt must not be: in CSV an apostrophe is put before it; XLSX has a type for text. What has
more than 32,767 characters, the most that a cell holds, is cut in XLSX.
"""

import csv
import datetime
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from memscan.scanner.errors import UsageError
from memscan.scanner.report import flags
from memscan.scanner.report.streamed import replacing
from memscan.scanner.results.reader import Results

MOST_ROWS = 1_048_575
"""Of a sheet of XLSX, without its heading."""

_FORMULA = ("=", "+", "-", "@")
_MASK = ("mask", "mask_height", "mask_width")
_LONGEST_CELL = 32_767
_EXACT = 2**53


def csv_file(results: Results, file: Path, step: int | None, rate: float) -> int:
    """Write the rows, of all steps or one, as CSV in UTF-8 with a mark that spreadsheets know it by.

    Returns:
        How many rows were written.

    Raises:
        UsageError: it cannot be written there, or a part is damaged.
        EnvironmentFailed: the disk is full or broken.
    """
    rows = _count(results, step)
    with replacing(file, "--csv") as aside, aside.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\r\n")
        writer.writerow([_guarded(name) for name in _heading(results)])
        for table in _tables(results, step, rate):
            columns = [[_csv_cell(value) for value in column.to_pylist()] for column in map(_shortest, table.columns)]
            writer.writerows(zip(*columns, strict=True))
    return rows


def xlsx_file(results: Results, file: Path, step: int | None, rate: float) -> int:
    """Write the rows as XLSX, as `csv_file`.

    Raises:
        UsageError: as `csv_file`; a sheet cannot hold so many rows, or XlsxWriter is not installed.
    """
    try:
        import xlsxwriter
    except ImportError as error:
        raise UsageError("--xlsx needs XlsxWriter: pip install 'memscan[xlsx]'") from error
    rows = _count(results, step)
    if rows > MOST_ROWS:
        raise UsageError(
            f"--xlsx {file}: a sheet holds {MOST_ROWS:,} rows, and these are {rows:,}: choose --step or --csv"
        )
    with replacing(file, "--xlsx") as aside, xlsxwriter.Workbook(str(aside), {"constant_memory": True}) as book:
        sheet = book.add_worksheet("results")
        sheet.freeze_panes(1, 0)
        bold = book.add_format({"bold": True})
        for place, name in enumerate(_heading(results)):
            sheet.write_string(0, place, name[:_LONGEST_CELL], bold)
        at = 0
        for table in _tables(results, step, rate):
            columns = [column.to_pylist() for column in map(_shortest, table.columns)]
            for row in zip(*columns, strict=True):
                at += 1
                for place, value in enumerate(row):
                    _write_cell(sheet, at, place, value)
    return rows


def _count(results: Results, step: int | None) -> int:
    rows = sum(map(len, results.batches(("status", "step_index"), _of_step(step))))
    if step is not None and not rows:
        raise UsageError(f"step {step} was not measured")
    return rows


def _of_step(step: int | None) -> ds.Expression | None:
    return None if step is None else ds.field("step_index") == step


def _heading(results: Results) -> list[str]:
    names = [name for name in results.columns if name not in _MASK]
    flag = "flagged"
    while flag in names:  # carried from the manifest
        flag = f"memscan_{flag}"
    names.insert(names.index("score") + 1, flag)
    return names


def _tables(results: Results, step: int | None, rate: float) -> Iterator[pa.Table]:
    """The rows without masks, and whether each is flagged."""
    for table in results.batches([name for name in results.columns if name not in _MASK], _of_step(step)):
        place = table.column_names.index("score") + 1
        yield table.add_column(place, "flagged", pa.array(flags.flagged(table, rate)))


def _shortest(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column whose float32 values are the shortest decimals that mean them, as float64."""
    return pc.cast(pc.cast(column, pa.string()), pa.float64()) if pa.types.is_float32(column.type) else column


def _csv_cell(value: Any) -> Any:
    value = _plain(value)
    return _guarded(value) if isinstance(value, str) else value


def _guarded(text: str) -> str:
    start = unicodedata.normalize("NFKC", text.lstrip()[:1])  # also full-width signs, and any after blanks
    return f"'{text}" if start in _FORMULA or text[:1] in ("\t", "\r", "\n") else text


def _write_cell(sheet: Any, row: int, place: int, value: Any) -> None:
    value = _plain(value)
    if value is None:
        return
    if isinstance(value, bool):
        sheet.write_boolean(row, place, value)
    elif isinstance(value, int | float) and np.isfinite(value) and abs(value) <= _EXACT:
        sheet.write_number(row, place, value)
    else:
        sheet.write_string(row, place, str(value)[:_LONGEST_CELL])


def _plain(value: Any) -> Any:
    """A value of a carried column as a number, a truth value or text."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)
