"""The results file of a part: rows in the order of their key, and in its metadata what the part was made of.

memscan.input_digest   SHA-256 of the part's rows
memscan.part           its extent, and its images by their fate, as JSON
memscan.images         file name, size and digest of each image that it saved, as JSON; none where none were asked for
memscan.maps           bytes of its file of maps, as JSON; none where none were asked for
memscan.pictures       row and digest of each picture that a row brought and that was scanned, as JSON
memscan.written        when it was written, in UTC (ISO 8601)
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memscan.scanner.records import RecordError, parse_json, shown
from memscan.scanner.results import layout
from memscan.scanner.results.extent import Extent
from memscan.scanner.results.tally import Tally

FINGERPRINT, WRITTEN = b"memscan.fingerprint", b"memscan.written"
_DIGEST, _PART = b"memscan.input_digest", b"memscan.part"
_IMAGES, _MAPS, _PICTURES = b"memscan.images", b"memscan.maps", b"memscan.pictures"
_FATES = ("ok", "error", "screened", "truncated", "given", "sampled")
_KEY = ("row", "seed", "step_index")
_WINDOW_BYTES = 64 << 20
_DIGEST_BITS = 128


class SavedImage(NamedTuple):
    """The bytes of an image file: how many, None where an earlier version did not say it, and their digest."""

    size: int | None
    digest: str


@dataclasses.dataclass(frozen=True)
class PartRecord:
    """What a part says of itself.

    `tally` has no reasons. `images` has the image files by their names, None where images were not asked for; `maps` is
    the size of the file of maps in bytes, or None. `pictures` maps rows to the digests of the pictures that they
    brought, where at least one image of the row is ok.
    """

    digest: str
    extent: Extent
    tally: Tally
    images: Mapping[str, SavedImage] | None = None
    pictures: Mapping[int, str] = dataclasses.field(default_factory=dict)
    maps: int | None = None

    def to_metadata(self) -> dict[bytes, bytes]:
        """The entries of a Parquet file's metadata."""
        fates = {name: getattr(self.tally, name) for name in _FATES}
        said = {
            _DIGEST: self.digest.encode(),
            _PART: json.dumps(self.extent._asdict() | fates).encode(),
            _PICTURES: json.dumps({str(row): digest for row, digest in self.pictures.items()}).encode(),
        }
        if self.images is not None:
            said[_IMAGES] = json.dumps(dict(self.images)).encode()
        if self.maps is not None:
            said[_MAPS] = json.dumps(self.maps).encode()
        return said

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes]) -> "PartRecord":
        """The inverse of `to_metadata`; raises KeyError or ValueError where an entry lacks or is garbled."""
        part = parse_json(metadata[_PART])
        part = {"screened": 0, **part} if isinstance(part, dict) else {}  # earlier versions do not know of it
        counts = {name: part[name] for name in (*Extent._fields, *_FATES)}
        for name, count in counts.items():
            if type(count) is not int or not 0 <= count < 2**63:
                raise RecordError(f"{name} is {shown(count)}, not a number of rows or images")
        return cls(
            digest=metadata[_DIGEST].decode(),
            extent=Extent(*(counts[name] for name in Extent._fields)),
            tally=Tally(**{name: counts[name] for name in _FATES}),
            images=cls.images_of(metadata) if _IMAGES in metadata else None,
            pictures=_pictures_of(metadata),
            maps=_size_of(parse_json(metadata[_MAPS])) if _MAPS in metadata else None,
        )

    @staticmethod
    def images_of(metadata: Mapping[bytes, bytes]) -> dict[str, SavedImage]:
        """A part's images by their names alone; none where the part does not speak of images.

        Raises:
            RecordError: the entry is malformed, or has names that are not those of images.
        """
        images = parse_json(metadata.get(_IMAGES, b"{}"))
        if not isinstance(images, dict):
            raise RecordError(f"the list of images is {shown(images)}, not an object")
        return {name: _saved_image(name, said) for name, said in images.items()}


def _saved_image(name: str, said: Any) -> SavedImage:
    size, digest = said if isinstance(said, list) and len(said) == 2 else (None, said)
    if layout.part_of_image(layout.image(0, name)) is None or not isinstance(digest, str):
        raise RecordError(f"the list of images has {shown(name)}: {shown(said)}")
    return SavedImage(None if size is None else _size_of(size), digest)


def _size_of(said: Any) -> int:
    if type(said) is not int or not 0 <= said < 2**63:
        raise RecordError(f"the size of a file is {shown(said)}, not a number of bytes")
    return said


def _pictures_of(metadata: Mapping[bytes, bytes]) -> dict[int, str]:
    pictures = parse_json(metadata[_PICTURES])
    if not isinstance(pictures, dict):
        raise RecordError(f"the list of pictures is {shown(pictures)}, not an object")
    for row, digest in pictures.items():
        if not (row.isascii() and row.isdecimal() and len(row) < 20 and isinstance(digest, str)):
            raise RecordError(f"the list of pictures has {shown(row)}: {shown(digest)}")
    return {int(row): digest for row, digest in pictures.items()}


def image_digest(content: bytes) -> str:
    """The first half of the SHA-256 of an image file, hex: metadata holds one for each image."""
    return hashlib.sha256(content).hexdigest()[: _DIGEST_BITS // 4]


def write_part(
    stream: IO[bytes], batches: Sequence[pa.RecordBatch], schema: pa.Schema, *, window_bytes: int = _WINDOW_BYTES
) -> None:
    """Write the rows of `batches`, sorted by (row, seed, step_index), to an open stream.

    They are put in order window by window, one row group for each: text of more than 2 GB, which no column of 32-bit
    offsets can hold at once, never comes together.

    Args:
        schema: of the file, with its metadata; that of the batches but for the metadata.
        window_bytes: of a row group, about.
    """
    writer = pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True)
    try:
        for window in _sorted_windows(batches, window_bytes):
            writer.write_table(window.replace_schema_metadata(schema.metadata))
        writer.close()
    except BaseException:
        writer.is_open = False  # or pyarrow would write a footer when it collects the writer
        raise


def _sorted_windows(batches: Sequence[pa.RecordBatch], window_bytes: int) -> Iterator[pa.Table]:
    filled = [batch for batch in batches if batch.num_rows]
    if not filled:
        return
    keys = pa.Table.from_batches([batch.select(list(_KEY)) for batch in filled])
    order = pc.sort_indices(keys, [(name, "ascending") for name in _KEY]).to_numpy()
    lengths = [batch.num_rows for batch in filled]
    in_order = bool((np.diff(order) == 1).all())
    source = np.repeat(np.arange(len(filled)), lengths)
    place = np.concatenate([np.arange(length) for length in lengths])
    sizes = np.repeat([batch.nbytes / batch.num_rows for batch in filled], lengths)
    window = (np.cumsum(sizes[order]) // window_bytes).astype(np.int64)
    for rows in np.split(order, np.flatnonzero(np.diff(window)) + 1):
        if in_order:
            yield pa.Table.from_batches(filled).slice(rows[0], len(rows)).combine_chunks()
        else:
            yield _gathered(filled, source[rows], place[rows])


def _gathered(batches: Sequence[pa.RecordBatch], source: NDArray[np.int64], place: NDArray[np.int64]) -> pa.Table:
    """The rows `place` [R] of the batches `source` [R], in this order."""
    by_source = np.argsort(source, kind="stable")
    pieces = [batches[one].take(pa.array(place[source == one])) for one in np.unique(source)]
    back = np.empty(len(source), np.int64)
    back[by_source] = np.arange(len(source))
    return pa.Table.from_batches(pieces).combine_chunks().take(pa.array(back))
