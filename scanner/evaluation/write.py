"""Files that an evaluation leaves: tables as Parquet or CSV by their names, and text."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from memscan.scanner.errors import UsageError
from memscan.scanner.process.system_errors import explained

_TABLES = (".parquet", ".csv")


def check_table_name(file: Path, option: str) -> None:
    """Raises UsageError if a table cannot have the name of `file`."""
    if file.suffix.lower() not in _TABLES:
        raise UsageError(f"{option} {file}: a table is written to a file that ends in {' or '.join(_TABLES)}")


def write_table(table: pa.Table, file: Path, option: str) -> None:
    """Write a table to the file that `option` names.

    Raises:
        UsageError: the file has another suffix, or cannot be written there.
        EnvironmentFailed: the disk is full or broken.
    """
    check_table_name(file, option)
    content = io.BytesIO()
    if file.suffix.lower() == ".csv":
        pa_csv.write_csv(table, content)
    else:
        pq.write_table(table, content, compression="zstd")
    write_file(content.getvalue(), file, option)


def write_file(content: bytes, file: Path, option: str) -> None:
    """Write the file that `option` names.

    Raises:
        UsageError: it cannot be written there.
        EnvironmentFailed: the disk is full or broken.
    """
    try:
        stream = file.open("wb")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}: choose another {option}") from error
    try:
        with stream:
            stream.write(content)
    except OSError as error:
        raise explained(OSError(error.errno, error.strerror, str(file))) from error
