"""Which parts of a run are done: those whose files are whole and were made of the rows that the manifest has.

A file is torn if it is this run's, by its place in a folder with this run's record, and has no footer, or if a page
fails its checksum. Nothing else is taken for damage: what cannot be read for another reason stops the run.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner.errors import ResumeRefused
from memscan.scanner.results import layout
from memscan.scanner.results.at_once import in_order
from memscan.scanner.results.extent import Extent
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.maps_table import MAPS_SCHEMA
from memscan.scanner.results.part_file import FINGERPRINT, PartRecord, SavedImage, image_digest
from memscan.scanner.results.schema import COLUMNS
from memscan.scanner.results.tally import Tally, tally
from memscan.scanner.results.torn import Torn, parquet

_IDENTITY = ("row", "seed", "id", "prompt")


@dataclasses.dataclass(frozen=True)
class Found:
    """A part whose results are whole: what they hold, and which of its other files are missing or torn.

    `lost_images` are names within the folder of the part's images. `has_grown` says that the manifest has more rows for
    the part now.
    """

    record: PartRecord
    tally: Tally
    lost_maps: bool = False
    lost_images: tuple[str, ...] = ()
    has_grown: bool = False

    @property
    def has_lost(self) -> bool:
        """Whether maps or images of good rows are missing."""
        return self.lost_maps or bool(self.lost_images)

    @property
    def whole(self) -> bool:
        """Whether the part has all that it should have; rows with errors are among it."""
        return not (self.has_lost or self.has_grown)


@dataclasses.dataclass(frozen=True)
class Findings:
    """The parts that were found, by number, and the names of torn files, to be set aside."""

    parts: dict[int, Found]
    torn: tuple[str, ...]

    @property
    def whole(self) -> dict[int, Found]:
        """The parts of which nothing need be done again."""
        return {number: found for number, found in self.parts.items() if found.whole}


class Change(NamedTuple):
    """A row that is another one than its results are of, and how."""

    row: int
    how: str


class Input(Protocol):
    """What a part is made of now: the digest of its rows, and those of the pictures that could be read, by row."""

    @property
    def digest(self) -> str: ...
    @property
    def pictures(self) -> Mapping[int, str]: ...


class Rows(Protocol):
    """The rows that parts are made of now."""

    def inputs(self, parts: Sequence[tuple[int, Extent]]) -> Iterable[Input]:
        """What each of the parts, ascending by number and extent, is made of."""

    def change(self, extent: Extent, kept: pa.Table) -> Change | None:
        """The first difference to the results of a part of this extent; None if no column shows one."""


def finished_parts(
    folder: OutputFolder,
    schema: pa.Schema,
    rows: Rows,
    extents: Mapping[int, Extent],
    count: int,
    *,
    known: bool,
    with_maps: bool,
    with_images: bool = False,
    verify: bool = False,
) -> Findings:
    """Look at a share's parts, and at those beyond the end of the manifest. Nothing is changed.

    Results are read whole. Of maps and images, which are many times as much, the sizes are compared with those that the
    results recorded when they were committed, and the ends of the files of maps are read: what a process or a machine
    that died can have left behind is found by that, and bits that flip in a file at rest by `verify`.

    Args:
        extents: of the share's parts, by number.
        count: parts of the whole run.
        known: the folder held this run's record already; if not, nothing says that a torn file is this run's.
        with_maps, with_images: a part needs its file of maps, and images of what was scanned, too.
        verify: read maps and images whole.

    Raises:
        ResumeRefused: a finished part was made of other rows or by another run, has other columns, or is no part.
        OSError: a file cannot be read.
    """
    look = _Look(folder, schema, known, verify)
    there = sorted(number for number in folder.parts() if number in extents or number >= count)
    results = in_order(folder.store, look.results, there)
    read = {number: found for number, found in zip(there, results, strict=True) if found}
    of_record = {number: found.record.extent for number, found in read.items()}
    for number, extent in of_record.items():
        if number >= count:
            _refuse_rows(folder, extent)
        if extent != extents[number] and not extent.begins(extents[number]):
            look.refuse(number, rows, extent, extents[number])
    inputs = rows.inputs(list(of_record.items())) if read else ()
    for (number, found), now in zip(read.items(), inputs, strict=True):
        if found.record.digest != now.digest:
            look.refuse(number, rows, found.record.extent)
        for row, digest in found.record.pictures.items():
            if now.pictures.get(row, digest) != digest:
                _refuse_row(folder, Change(row, "its image is another one"))
    maps = [number for number in sorted(folder.maps()) if number in extents or number >= count] if with_maps else []
    sizes = folder.store.sizes(layout.MAPS) if maps else {}

    def are_whole(number: int) -> bool:
        return look.maps(number, number in read and sizes.get(layout.maps_part(number)) == read[number].record.maps)

    checked = in_order(folder.store, are_whole, maps)
    whole_maps = {number for number, is_whole in zip(maps, checked, strict=True) if is_whole}
    parts = {
        number: dataclasses.replace(
            found,
            lost_maps=with_maps and number not in whole_maps,
            lost_images=tuple(look.lost_images(number, found.record.images)) if with_images else (),
            has_grown=found.record.extent != extents[number],
        )
        for number, found in read.items()
    }
    return Findings(parts, tuple(sorted(look.torn)))


def part_record(folder: OutputFolder, number: int, fingerprint: bytes) -> PartRecord | None:
    """What a part says of itself, without reading its rows; None if its end is torn.

    Raises:
        ResumeRefused: it is of another run, or no part.
    """
    name = layout.results_part(number)
    try:
        with parquet(folder.store, name) as file:
            _check_run(folder, name, file.schema_arrow, fingerprint)
            return _record(file.schema_arrow)
    except Torn:
        return None


class _Look:
    """Reads files of a folder, and notes which are torn."""

    def __init__(self, folder: OutputFolder, schema: pa.Schema, known: bool, verify: bool) -> None:
        self._folder = folder
        self._schema = schema
        self._known = known
        self._verify = verify
        self.torn: list[str] = []

    def results(self, number: int) -> Found | None:
        """What a file of results holds; None if it is torn."""
        name = layout.results_part(number)
        try:
            with parquet(self._folder.store, name) as file:
                _check_run(self._folder, name, file.schema_arrow, self._schema.metadata[FINGERPRINT])
                self._check_columns(name, file.schema_arrow)
                batches = (batch for table in _groups(file) for batch in table.to_batches())
                return Found(_record(file.schema_arrow), tally(batches))
        except Torn as torn:
            self._tear(name, torn)
            return None

    def maps(self, number: int, has_its_size: bool) -> bool:
        """Whether a file of maps is whole; one that has not the size which the results recorded is read."""
        name = layout.maps_part(number)
        try:
            with parquet(self._folder.store, name) as file:
                _check_run(self._folder, name, file.schema_arrow, self._schema.metadata[FINGERPRINT])
                if not file.schema_arrow.equals(MAPS_SCHEMA):
                    raise Torn("its columns are not those of maps")
                for _ in () if has_its_size and not self._verify else _groups(file):
                    pass
        except Torn as torn:
            self._tear(name, torn)
            return False
        return True

    def lost_images(self, number: int, images: Mapping[str, SavedImage] | None) -> Iterable[str]:
        """Those images of a part that are missing or have other bytes; all, where they were not asked for before."""
        if images is None:
            yield from self._all_images(number)
            return
        sizes = self._folder.store.sizes(layout.image(number, "")) if images else {}
        for name, saved in images.items():
            place = layout.image(number, name)
            if place in sizes:
                if not self._verify and sizes[place] == saved.size:
                    continue
                with self._folder.store.open(place) as stream:
                    if image_digest(stream.read()) == saved.digest:
                        continue
                self.torn.append(place)
            yield name

    def _all_images(self, number: int) -> list[str]:
        with parquet(self._folder.store, layout.results_part(number)) as file:
            table = file.read(["row", "seed"], use_threads=False)
        keys = zip(table["row"].to_pylist(), table["seed"].to_pylist(), strict=True)
        return [layout.image_name(*key) for key in dict.fromkeys(keys)]

    def refuse(self, number: int, rows: Rows, *extents: Extent) -> NoReturn:
        """Say where a part, of the first extent, differs from the manifest, which gives it the last one."""
        with parquet(self._folder.store, layout.results_part(number)) as file:
            carried = self._schema.names[len(COLUMNS) :]
            change = rows.change(extents[-1], file.read([*_IDENTITY, *carried], use_threads=False))
        if change is not None:
            _refuse_row(self._folder, change)
        _refuse_rows(self._folder, *extents)

    def _tear(self, name: str, torn: Torn) -> None:
        if not self._known:
            raise ResumeRefused(
                f"{self._folder.path / name} cannot be read ({torn}), and nothing says that it is of this run: "
                "move it away"
            )
        self.torn.append(name)

    def _check_columns(self, name: str, found: pa.Schema) -> None:
        if not found.equals(self._schema):
            names = (*self._schema.names, *found.names)
            changed = next(one for one in names if not _same_field(found, self._schema, one))
            raise ResumeRefused(
                f"{self._folder.path / name} has another type of column {changed!r}: choose another --out"
            )


def _check_run(folder: OutputFolder, name: str, found: pa.Schema, wanted: bytes) -> None:
    fingerprint = (found.metadata or {}).get(FINGERPRINT)
    if fingerprint is None:
        raise ResumeRefused(f"{folder.path / name} was not written by a run: move it away")
    if fingerprint != wanted:
        raise ResumeRefused(f"{folder.path / name} is of another run than the rest of its folder: move it away")


def _groups(file: pq.ParquetFile) -> Iterator[pa.Table]:
    """Row group after row group; reading all columns checks all pages."""
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, use_threads=False)


def _record(schema: pa.Schema) -> PartRecord:
    try:
        return PartRecord.from_metadata(schema.metadata)
    except (KeyError, TypeError, ValueError) as error:
        raise Torn(f"its metadata lack or garble {error}") from error


def _same_field(first: pa.Schema, second: pa.Schema, name: str) -> bool:
    return name in first.names and name in second.names and first.field(name).equals(second.field(name))


def _refuse_row(folder: OutputFolder, change: Change) -> NoReturn:
    raise ResumeRefused(
        f"row {change.row} differs from the one that {folder.path} holds results of, {change.how}: "
        "restore the manifest, or choose another --out"
    )


def _refuse_rows(folder: OutputFolder, *extents: Extent) -> NoReturn:
    first, last = min(one.first_row for one in extents), max(one.last_row for one in extents)
    raise ResumeRefused(
        f"rows {first} to {last} differ from those that {folder.path} holds results of: "
        "restore the manifest, or choose another --out"
    )
