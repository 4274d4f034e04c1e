"""The table that a file of ground truth is: Parquet, CSV, JSON lines, or one prompt on each line.

Values are what the file gives: text in CSV, JSON's types in JSON lines. A row that cannot be read is one line that
names it; it is never left out, since rows are known by their position.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from memscan.scanner.errors import UsageError
from memscan.scanner.input.input_file import InputFile
from memscan.scanner.input.text_lines import MAX_LINE, encoding_of, is_unicode, lines_of, too_long
from memscan.scanner.records import RecordError, parse_json
from memscan.scanner.results.torn import Torn, told_apart

MAX_FILE = 1 << 30
"""Bytes of a file that is read as a whole."""

_DELIMITERS = ",;\t|"


class Table(Protocol):
    """Named columns of equal length."""

    path: Path
    names: Sequence[str]

    def columns(self, names: Sequence[str]) -> Mapping[str, list[Any]]:
        """These columns, those that there are; null is None.

        Raises:
            UsageError: the file is damaged.
        """


def regular(path: Path, expected: str) -> Path:
    """`path`, if there is a regular file of bounded size.

    Raises:
        UsageError: there is not; it says what was `expected`.
    """
    if not path.is_file():
        raise UsageError(f"no ground truth at {path}: give {expected}")
    if path.stat().st_size > MAX_FILE and not is_parquet(path):
        raise UsageError(f"{path} has more than {MAX_FILE} bytes: write it as Parquet")
    return path


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does, or has its name."""
    if path.suffix.lower() in (".parquet", ".pq"):
        return True
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def is_json(path: Path) -> bool:
    """Whether a file is one JSON value, and not one on each line."""
    return path.suffix.lower() == ".json"


def open_table(path: Path) -> Table:
    """The table in a regular file, told by its first bytes and its name.

    Raises:
        UsageError: it is none.
    """
    if is_parquet(path):
        return _Parquet(path)
    file = InputFile(path, path.parent, "text")
    encoding = encoding_of(file, None)
    lines = list(_lines(file, encoding))
    if path.suffix.lower() in (".jsonl", ".ndjson") or next(iter(lines), "").lstrip().startswith("{"):
        return _Rows(path, [_object(path, row, line) for row, line in enumerate(lines)])
    if path.suffix.lower() in (".csv", ".tsv", ".tab"):
        return _Rows(path, list(_records(path, lines)))
    return _Rows(path, [{"prompt": line.rstrip("\r\n")} for line in lines])


class _Parquet:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as stream, told_apart(), pq.ParquetFile(stream) as file:
                self.names: Sequence[str] = file.schema_arrow.names
        except Torn as torn:
            raise UsageError(f"{path} cannot be read as Parquet ({torn})") from torn

    def columns(self, names: Sequence[str]) -> Mapping[str, list[Any]]:
        there = [name for name in names if name in self.names]
        twice = [name for name in there if list(self.names).count(name) > 1]
        if twice:
            raise UsageError(f"{self.path} is no ground truth: it has two columns {twice[0]}")
        try:
            with (
                self.path.open("rb") as stream,
                told_apart(),
                pq.ParquetFile(stream, page_checksum_verification=True) as file,
            ):
                table = file.read(there, use_threads=False)
                return {name: table[name].to_pylist() for name in there}
        except Torn as torn:
            raise UsageError(f"{self.path} cannot be read as Parquet ({torn})") from torn


class _Rows:
    def __init__(self, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        self.path = path
        self.names: Sequence[str] = list(dict.fromkeys(name for row in rows for name in row))
        self._rows = rows

    def columns(self, names: Sequence[str]) -> Mapping[str, list[Any]]:
        return {name: [row.get(name) for row in self._rows] for name in names if name in self.names}


def _lines(file: InputFile, encoding: str) -> Iterator[str]:
    """The lines that are not blank, with their ends."""
    for number, line in lines_of(file, encoding, newline=""):
        if line is None:
            raise UsageError(f"{file.path}: {too_long(number)}")
        if not is_unicode(line):
            raise UsageError(f"{file.path}: line {number} is not {encoding.removesuffix('-sig').upper()}")
        if not line.isspace():
            yield line


def _object(path: Path, row: int, line: str) -> Mapping[str, Any]:
    try:
        value = parse_json(line.encode())
    except RecordError as error:
        raise UsageError(f"{path}: row {row} is {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path}: row {row} is no JSON object")
    return value


def _records(path: Path, lines: Sequence[str]) -> Iterator[Mapping[str, str | None]]:
    csv.field_size_limit(MAX_LINE)
    head = lines[0] if lines else ""
    delimiter = max(_DELIMITERS, key=lambda one: len(next(csv.reader([head], delimiter=one), [])))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        names = next(reader, [])
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"{path} is no ground truth: it has two columns {json.dumps(twice)}")
        for row, fields in enumerate(reader):
            if len(fields) != len(names):
                raise UsageError(f"{path}: row {row} has {len(fields)} fields where the header has {len(names)}")
            yield {name: value or None for name, value in zip(names, fields, strict=True)}
    except csv.Error as error:
        raise UsageError(f"{path}: line {reader.line_num} is not CSV ({error})") from error
