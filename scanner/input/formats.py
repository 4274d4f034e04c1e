"""What a file of a manifest is: by `--format`, else by its name, and where that says little, by its first line."""

import re
from pathlib import Path

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import Columns, fold
from memscan.scanner.input.input_file import InputFile
from memscan.scanner.input.reading import Reading
from memscan.scanner.input.text_lines import encoding_of, lines_of
from memscan.scanner.place import Place

SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "text",
}
"""How a file's name says what it holds."""

STDIN = Path("-")

_SPREADSHEETS = {".xlsx", ".xlsm", ".xls", ".ods", ".numbers"}


def check_name(path: Place) -> None:
    """Check that a file's name says what it holds.

    Raises:
        ManifestError: it does not.
    """
    suffix = path.suffix.lower()
    if suffix in _SPREADSHEETS:
        raise ManifestError(f"{path} is a spreadsheet: save it as CSV UTF-8")
    if suffix not in SUFFIXES:
        raise ManifestError(
            f"{path} is no manifest by its name: expected one of {', '.join(SUFFIXES)}; or say what it is with --format"
        )


def format_of(file: InputFile, columns: Columns, reading: Reading) -> str:
    """`"parquet"`, `"csv"`, `"jsonl"` or `"text"`.

    Raises:
        ManifestError: neither its name nor its content says it.
    """
    if reading.format is not None:
        return reading.format
    if file.path != STDIN:
        check_name(file.path)
        by_name = SUFFIXES[file.path.suffix.lower()]
        if by_name != "text":
            return by_name
    else:
        with file.open() as stream:
            if stream.read(4) == b"PAR1":
                return "parquet"
    line = _first_line(file, reading)
    if line.lstrip().startswith("{"):
        return "jsonl"
    return "csv" if reading.delimiter is not None or _is_header(line, columns) else "text"


def _first_line(file: InputFile, reading: Reading) -> str:
    lines = lines_of(file, encoding_of(file, reading.encoding))
    return next((line for _, line in lines if line and not line.isspace()), "")


def _is_header(line: str, columns: Columns) -> bool:
    fields = [field.strip().strip('"') for field in re.split("[,;\t|]", line)]
    return fold(columns.prompt or "prompt") in map(fold, fields) and not any(re.search(r"\s", one) for one in fields)
