"""Parquet manifests, read in batches of bounded size even inside one huge row group."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import OPTIONAL, Columns
from memscan.scanner.input.rows import RawRow

_BATCH_ROWS = 1024
_IMAGE_BATCH_ROWS = 16
_READ_BUFFER = 1 << 16  # bytes; without one, pyarrow reads the whole column chunk of a row group at once


class ParquetSource:
    """One Parquet file; `types` holds the types of those of its columns that are used."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self._columns = columns
        try:
            with self._open() as file:
                schema, self.num_rows = file.schema_arrow, int(file.metadata.num_rows)
        except (pa.ArrowException, OSError) as error:
            raise _as_manifest_error(error, f"{path} is not a Parquet file ({{}})") from error
        columns.require(path, schema.names)
        used = [columns.prompt, *(name for name in OPTIONAL if name in schema.names), *columns.carry]
        self.types = {name: _decoded(schema.field(name).type) for name in used}
        self._check_types()

    def rows(self, start: int, stop: int, *, images: bool) -> Iterator[RawRow]:
        """The rows `start` to `stop` - 1 in order; row groups without any of them are not read.

        Args:
            images: False leaves the image column unread.

        Raises:
            ManifestError: a row group cannot be read; the row groups before it were yielded.
        """
        names = [name for name in self.types if images or name != "image" or name in self._columns.carry]
        batch_rows = _IMAGE_BATCH_ROWS if "image" in names else _BATCH_ROWS
        with self._open() as file:
            first = 0
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                if start < end and first < stop:
                    batches = file.iter_batches(batch_rows, row_groups=[group], columns=names, use_threads=False)
                    for batch in self._between(self._readable(batches, group), start - first, stop - first):
                        yield from self._raw_rows(batch, images)
                first = end

    def _between(self, batches: Iterator[pa.RecordBatch], start: int, stop: int) -> Iterator[pa.RecordBatch]:
        first = 0
        for batch in batches:
            end = first + batch.num_rows
            if start < end:
                yield batch.slice(max(start - first, 0), min(stop, end) - max(start, first))
            if stop <= end:
                return
            first = end

    def _raw_rows(self, batch: pa.RecordBatch, images: bool) -> Iterator[RawRow]:
        columns = {name: batch.column(name).cast(self.types[name]) for name in batch.schema.names}
        prompt = columns[self._columns.prompt].to_pylist()
        optional = {name: columns[name] for name in OPTIONAL if name in columns and (images or name != "image")}
        folder = self.path.parent
        for i in range(batch.num_rows):
            yield RawRow(
                folder=folder,
                prompt=prompt[i],
                **{name: column[i].as_py() for name, column in optional.items()},
                carried={name: _scalar(columns[name][i]) for name in self._columns.carry},
            )

    def _readable(self, batches: Iterator[pa.RecordBatch], group: int) -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except (pa.ArrowException, OSError) as error:
            what = f"{self.path}: row group {group} cannot be read ({{}}): write the file again"
            raise _as_manifest_error(error, what) from error

    def _check_types(self) -> None:
        prompt = self.types[self._columns.prompt]
        if not (_is_text(prompt) or pa.types.is_null(prompt)):
            raise ManifestError(f"{self.path}: column {self._columns.prompt!r} is {prompt}, a prompt is text")
        seed = self.types.get("seed", pa.null())
        if not _is_seed(seed.value_type if _is_list(seed) else seed):
            raise ManifestError(f"{self.path}: column 'seed' is {seed}, expected integers or lists of integers")
        for name in self._columns.carry:
            kind = self.types[name]
            flat = kind.value_type if _is_list(kind) else kind
            if pa.types.is_nested(flat) or (_is_list(kind) and pa.types.is_temporal(flat)):
                raise ManifestError(f"{self.path}: column {name!r} is {kind}; only flat columns can be carried")

    def _open(self) -> pq.ParquetFile:
        return pq.ParquetFile(
            self.path,
            pre_buffer=False,
            buffer_size=_READ_BUFFER,
            page_checksum_verification=True,
            arrow_extensions_enabled=False,
        )


def _as_manifest_error(error: Exception, message: str) -> Exception:
    """Arrow reports broken content as an OSError without a number; one with a number is the disk's own."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return ManifestError(message.format(" ".join(str(error).split())))


def _decoded(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_seed(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _scalar(value: pa.Scalar) -> Any:
    return value if value.is_valid else None
