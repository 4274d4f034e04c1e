"""Flagged rows as a Parquet file, part after part: however many there are, one part is in memory."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner.calibration.flag import Q_VALUE, Flagged
from memscan.scanner.errors import UsageError
from memscan.scanner.process.system_errors import explained


def write_rows(flagged: Flagged, file: Path) -> None:
    """Write the file whole, or not at all.

    Raises:
        UsageError: it does not end in .parquet, or cannot be written there.
        EnvironmentFailed: the disk is full or broken.
    """
    if file.suffix.lower() != ".parquet":
        raise UsageError(f"--out {file}: the flagged rows are written to a file that ends in .parquet")
    if not file.parent.is_dir():
        raise UsageError(f"cannot write {file}: there is no folder {file.parent}: choose another --out")
    schema = flagged.results.schema.append(pa.field(Q_VALUE, pa.float64()))
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".memscan-") as folder:
            whole = Path(folder) / file.name
            with pq.ParquetWriter(whole, schema, compression="zstd") as writer:
                for rows in flagged.rows():
                    writer.write_table(rows.cast(schema))
            whole.replace(file)
    except OSError as error:
        raise explained(OSError(error.errno, error.strerror, str(file))) from error
