"""Full maps, in a table of their own beside the results: written as they are measured, never held.

`data` is h x w float16, little-endian, row by row: `np.frombuffer(data, "<f2").reshape(height, width)`.
"""

from collections.abc import Callable
from types import TracebackType
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memscan.scanner.samples import RowKey, Scanned

MAPS_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("seed", pa.int64()),
        ("step_index", pa.int32()),
        ("map", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("data", pa.binary()),
    ]
)

_GROUP_BYTES = 8 << 20
_LARGEST = np.finfo(np.float16).max


class MapsWriter:
    """Writes the maps of one part to an open file, one row group for every few megabytes.

    As a context, it is closed at the end, or abandoned where an error ends it.
    """

    def __init__(self, stream: IO[bytes], metadata: dict[bytes, bytes], step_indices: tuple[int, ...]) -> None:
        self._writer = pq.ParquetWriter(
            stream, MAPS_SCHEMA.with_metadata(metadata), compression="zstd", write_page_checksum=True
        )
        self._step_indices = step_indices
        self._columns: dict[str, list[Any]] = {name: [] for name in MAPS_SCHEMA.names}
        self._bytes = 0

    def __enter__(self) -> "MapsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def keep(self, maps: pa.RecordBatch) -> None:
        """Add maps as they are in a file of maps."""
        self._flush()
        if maps.num_rows:
            self._writer.write_batch(maps)

    def add(self, scanned: Scanned, wanted: Callable[[RowKey], bool] = lambda key: True) -> None:
        """Add the maps of those rows of results of a batch that are `wanted`, image by image.

        Values beyond float16's range are stored as its largest.
        """
        halves = [{name: _half(values) for name, values in step.maps.items()} for step in scanned.steps]
        for i, sample in enumerate(scanned.samples):
            for index, step, maps in zip(self._step_indices, scanned.steps, halves, strict=True):
                if step.errors[i] is None and wanted((sample.row, sample.seed, index)):
                    for name, values in maps.items():
                        if not step.has(name)[i]:
                            continue
                        self._add((sample.row, sample.seed, index, name, *values.shape[1:], values[i].tobytes()))
        if self._bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left and the footer; the stream stays open."""
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Write no more, not even a footer: pyarrow's writer would else do so when it is collected."""
        self._writer.is_open = False

    def _add(self, row: tuple[Any, ...]) -> None:
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)
        self._bytes += len(row[-1])

    def _flush(self) -> None:
        if self._bytes:
            self._writer.write_table(pa.table(self._columns, MAPS_SCHEMA))
        self._columns = {name: [] for name in MAPS_SCHEMA.names}
        self._bytes = 0


def _half(maps: NDArray[np.float32]) -> NDArray[np.float16]:
    return np.clip(maps, -_LARGEST, _LARGEST).astype("<f2")
