"""Which parts of a run are done: those whose result file is whole and was made of the rows that the manifest has."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner.errors import ResumeRefused
from memscan.scanner.input.manifest import Manifest
from memscan.scanner.input.parts import cut, input_digest
from memscan.scanner.input.rows import parse_row
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.maps_table import is_whole
from memscan.scanner.results.tally import Tally, tally

DIGEST_KEY = "memscan.input_digest"
_FINGERPRINT = b"memscan.fingerprint"


def finished_parts(
    folder: OutputFolder, manifest: Manifest, schema: pa.Schema, shard_rows: int, *, with_maps: bool
) -> dict[int, Tally]:
    """The parts that need not be done again, and what they hold. Damaged ones are not among them.

    Args:
        with_maps: a part needs its file of maps too.

    Raises:
        ResumeRefused: a finished part was made of other rows or by another run, or has other columns.
    """
    paths = folder.parts()
    for number in paths:
        if number * shard_rows >= manifest.num_rows:
            _refuse_rows(folder, number * shard_rows, number * shard_rows + shard_rows - 1)
    read = {number: _read_part(path, schema) for number, path in paths.items()}
    whole = {number: part for number, part in read.items() if part is not None}
    if not whole:
        return {}
    for number, rows in cut(manifest, shard_rows):
        if number not in whole:
            continue
        digests = [parse_row(index, raw).digest for index, raw in rows]
        if whole[number][0] != input_digest(digests):
            _refuse_rows(folder, number * shard_rows, number * shard_rows + len(digests) - 1)
    return {n: counted for n, (_, counted) in whole.items() if not with_maps or is_whole(folder.maps_part(n))}


def _read_part(path: Path, schema: pa.Schema) -> tuple[str, Tally] | None:
    """The input digest and tally of a result file; None if it is cut off, or a page fails its checksum."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found = file.schema_arrow
            table = file.read(use_threads=False)
        digest = found.metadata[DIGEST_KEY.encode()].decode()
        fingerprint = found.metadata[_FINGERPRINT]
    except (pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    except OSError as error:
        if error.errno is not None:
            raise
        return None
    if fingerprint != schema.metadata[_FINGERPRINT]:
        raise ResumeRefused(f"{path} is of another run than the rest of its folder: move it away")
    if not found.equals(schema):
        changed = next(name for name in (*schema.names, *found.names) if not _same_field(found, schema, name))
        raise ResumeRefused(f"{path} has another type of column {changed!r}: choose another --out")
    return digest, tally(table)


def _same_field(first: pa.Schema, second: pa.Schema, name: str) -> bool:
    return name in first.names and name in second.names and first.field(name).equals(second.field(name))


def _refuse_rows(folder: OutputFolder, first: int, last: int) -> None:
    raise ResumeRefused(
        f"rows {first} to {last} differ from those that {folder.path} holds results of: "
        "restore the manifest, or choose another --out"
    )
