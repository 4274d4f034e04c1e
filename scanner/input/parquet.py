"""Parquet manifests, read in batches of bounded size even inside one huge row group.

A few bytes can stand for gigabytes of text, by a dictionary: small row groups are read as dictionaries, large ones a
few rows at a time.
"""

import collections
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner.errors import ManifestError
from memscan.scanner.input import values
from memscan.scanner.input.columns import PICTURES, ROLES, Columns
from memscan.scanner.input.input_file import InputFile
from memscan.scanner.input.rows import RawRow, Unreadable
from memscan.scanner.terminal import brief

_BATCH_ROWS = 1024
_LARGE_BATCH_ROWS = 32
_IMAGE_BATCH_ROWS = 16
_SMALL_GROUP = 1 << 22  # uncompressed bytes; read as dictionaries, distinct values take some five times that
_READ_BUFFER = 1 << 16  # bytes; without one, pyarrow reads the whole column chunk of a row group at once

_READERS: dict[str, Callable[[pa.Array], list[Any]]] = {
    "prompt": values.texts,
    "seed": values.numbers,
    "id": values.ids,
    **dict.fromkeys(PICTURES, values.images),
}

_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)  # pyarrow decodes names of columns only when asked for them


class ParquetSource:
    """One Parquet file; `types` holds the plain types of the columns that are used, by role, `carried` by name.

    Args:
        quarantines: a row group that cannot be read is rows with a problem, all of them: which could be read would
            depend on how many are read at once.
    """

    def __init__(self, file: InputFile, columns: Columns, *, quarantines: bool = False) -> None:
        self.file = file
        self._quarantines = quarantines
        self._flaws: dict[int, str | None] = {}
        self.remarks: tuple[str, ...] = ()
        try:
            with file.open() as stream, _opened(stream) as parquet:
                self._schema, self.num_rows = parquet.schema_arrow, int(parquet.metadata.num_rows)
                names = list(self._schema.names)
        except _BROKEN as error:
            raise _as_manifest_error(error, f"{file.path} is not a Parquet file ({{}})") from error
        self.used = columns.resolve(file.path, names, file.partitions)
        self.types = {role: self._plain_type(name) for role, name in self.used.roles.items()}
        self.types |= dict.fromkeys(self.used.constants, pa.string())
        self.carried = {to: self._plain_type(name) for to, name in self.used.carry.items()}
        self.carried |= dict.fromkeys(self.used.carried_constants, pa.string())
        self._check_types()

    def rows(self, start: int, stop: int, *, images: bool) -> Iterator[RawRow]:
        """The rows `start` to `stop` - 1 in order; row groups without any of them are not read.

        Args:
            images: False leaves columns of pictures unread.

        Raises:
            ManifestError: a row group cannot be read, or the file has changed; the rows before it were yielded.
        """
        roles = {role: name for role, name in self.used.roles.items() if images or role not in PICTURES}
        with self.file.open() as stream:
            metadata = self._unchanged_metadata(stream)
            first = 0
            for group in range(metadata.num_row_groups):
                end = first + metadata.row_group(group).num_rows
                if start < end and first < stop:
                    flaw = self._flaw(stream, metadata, group) if self._quarantines else None
                    if flaw is None:
                        yield from self._rows_of(stream, metadata, group, roles, start - first, stop - first)
                    else:
                        bad = RawRow(folder=self.file.folder, problem=flaw)
                        yield from [bad] * (min(stop, end) - max(start, first))
                first = end

    def _flaw(self, stream: Any, metadata: Any, group: int) -> str | None:
        """Why a row group cannot be read, with its images; None if it can. It is read once for that."""
        if group not in self._flaws:
            rows = self._rows_of(stream, metadata, group, self.used.roles, 0, metadata.row_group(group).num_rows)
            try:
                collections.deque(rows, maxlen=0)
                self._flaws[group] = None
            except ManifestError as error:
                self._flaws[group] = str(error)
        return self._flaws[group]

    def _rows_of(
        self, stream: Any, metadata: Any, group: int, roles: dict[str, str], start: int, stop: int
    ) -> Iterator[RawRow]:
        names = list(dict.fromkeys([*roles.values(), *self.used.carry.values()]))
        # Of a chunk of its own no size is asked: pyarrow's call for it ends the process where the footer is damaged.
        is_small = 0 < metadata.row_group(group).total_byte_size <= _SMALL_GROUP
        pictures = [roles[role] for role in PICTURES if role in roles]
        dictionaries = [name for name in names if is_small and name not in pictures and self._is_flat_text(name)]
        batch_rows = _IMAGE_BATCH_ROWS if pictures else _BATCH_ROWS if is_small else _LARGE_BATCH_ROWS
        try:
            with _opened(stream, metadata=metadata, read_dictionary=dictionaries) as parquet:
                batches = parquet.iter_batches(batch_rows, row_groups=[group], columns=names, use_threads=False)
                for batch in _between(batches, start, stop):
                    yield from self._raw_rows(batch, roles)
        except _BROKEN as error:
            what = f"{self.file.path}: row group {group} cannot be read ({{}}): write the file again"
            raise _as_manifest_error(error, what) from error

    def _raw_rows(self, batch: pa.RecordBatch, roles: dict[str, str]) -> list[RawRow]:
        of_roles = {role: _READERS[role](batch.column(name)) for role, name in roles.items()}
        columns = [of_roles.get(role) or itertools.repeat(self.used.constants.get(role)) for role in ROLES]
        folder, carried = self.file.folder, self._carried(batch)
        return [RawRow(folder, *values, *of_row) for *values, of_row in zip(*columns, carried, strict=False)]

    def _carried(self, batch: pa.RecordBatch) -> list[tuple[dict[str, Any], str | None]]:
        """What is carried of each row, and what keeps it from being carried."""
        columns = {to: values.carried(batch.column(name), self.carried[to]) for to, name in self.used.carry.items()}
        if not columns:
            return [(dict(self.used.carried_constants), None)] * batch.num_rows
        rows = []
        for i in range(batch.num_rows):
            carried = {to: column[i] for to, column in columns.items()} | self.used.carried_constants
            bad = {to: one for to, one in carried.items() if isinstance(one, Unreadable)}
            problem = next((f"the column {brief(to)!r} {one.why}" for to, one in bad.items()), None)
            rows.append((carried | dict.fromkeys(bad), problem))
        return rows

    def _unchanged_metadata(self, stream: Any) -> Any:
        try:
            with _opened(stream) as parquet:
                metadata, schema = parquet.metadata, parquet.schema_arrow
        except _BROKEN as error:
            raise _as_manifest_error(error, f"{self.file.path} has changed ({{}}): start again") from error
        if metadata.num_rows != self.num_rows or not schema.equals(self._schema):
            raise ManifestError(f"{self.file.path} has changed while it was read: start again")
        return metadata

    def _is_flat_text(self, name: str) -> bool:
        kind = self._schema.field(name).type
        return bool(values.is_text(kind) or values.is_bytes(kind))

    def _plain_type(self, name: str) -> pa.DataType:
        return values.plain(self._schema.field(name).type)

    def _check_types(self) -> None:
        roles, types = self.used.roles, self.types
        for role, name in roles.items():
            kind, shown = types[role], brief(str(types[role]))
            if role == "prompt" and not (values.is_text(kind) or pa.types.is_null(kind)):
                raise ManifestError(f"{self.file.path}: column {name!r} is {shown}, a prompt is text")
            if role == "seed" and not _is_seed(kind.value_type if values.is_list(kind) else kind):
                raise ManifestError(
                    f"{self.file.path}: column {name!r} is {shown}, expected integers or lists of integers"
                )
        for to, name in self.used.carry.items():
            kind = self._schema.field(name).type
            if not values.is_carried(kind):
                shown = brief(str(kind))
                raise ManifestError(f"{self.file.path}: column {to!r} is {shown}; only flat columns can be carried")


def _opened(stream: Any, **options: Any) -> pq.ParquetFile:
    return pq.ParquetFile(
        stream,
        pre_buffer=False,
        buffer_size=_READ_BUFFER,
        page_checksum_verification=True,
        arrow_extensions_enabled=False,
        **options,
    )


def _between(batches: Iterator[pa.RecordBatch], start: int, stop: int) -> Iterator[pa.RecordBatch]:
    first = 0
    for batch in batches:
        end = first + batch.num_rows
        if start < end:
            yield batch.slice(max(start - first, 0), min(stop, end) - max(start, first))
        if stop <= end:
            return
        first = end


def _as_manifest_error(error: Exception, message: str) -> Exception:
    """Arrow reports broken content as an OSError without a number; one with a number is the disk's own."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return ManifestError(message.format(brief(" ".join(str(error).split()), 300)))


def _is_seed(kind: pa.DataType) -> bool:
    return (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    )
