"""What is to be scanned: the rows of one or several files, or prompts given on the command line.

Columns: `prompt` (text), and optionally `seed` (an integer or a list of integers, one image each; default 0), `id`
(anything, stored as text), `image` (encoded bytes, or a path relative to the manifest's file: this image is scanned
instead of a sampled one). Others can be carried through to the results.

A manifest is read as a stream, several times if need be; memory does not grow with its rows.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import DEFAULT_COLUMNS, Columns
from memscan.scanner.input.files import file_format, find_files, stem_of
from memscan.scanner.input.parquet import ParquetSource
from memscan.scanner.input.rows import RawRow, parse_row
from memscan.scanner.input.text_files import CsvSource, JsonlSource
from memscan.scanner.samples import Rejected


class Source(Protocol):
    """One file of a manifest. Opening it checks its columns and counts its rows.

    `types` maps used columns to their types, as far as the file's format gives them types.
    """

    path: Path
    num_rows: int
    types: dict[str, pa.DataType]

    def rows(self, start: int, stop: int, *, images: bool) -> Iterator[RawRow]: ...


@dataclasses.dataclass(frozen=True)
class Census:
    """How much there is to do: `images` counts (row, seed) pairs, and `rejected` those among them known to be bad."""

    rows: int
    images: int
    rejected: int


@dataclasses.dataclass(frozen=True)
class Manifest:
    """An opened manifest. `name` is its stem, `carried` the types of the columns to be carried through."""

    name: str
    num_rows: int
    carried: dict[str, pa.DataType]
    prompts: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()

    def rows(self, start: int = 0, stop: int | None = None, *, images: bool = True) -> Iterator[RawRow]:
        """The rows from `start` to before `stop` (default: the end) in order; what lies outside is not read.

        Args:
            images: False leaves images unread.

        Raises:
            ManifestError: a row group cannot be read.
        """
        stop = self.num_rows if stop is None else min(stop, self.num_rows)
        for prompt in self.prompts[start:stop]:
            yield RawRow(Path(), prompt=prompt)
        first = len(self.prompts)
        for source in self.sources:
            begin, end = max(start - first, 0), min(stop - first, source.num_rows)
            if begin < end:
                yield from source.rows(begin, end, images=images)
            first += source.num_rows

    def census(self) -> Census:
        """Read everything but images once, so that a file which breaks in the middle is found before work begins.

        Raises:
            ManifestError: a row group cannot be read.
        """
        images = rejected = 0
        for index, raw in enumerate(self.rows(images=False)):
            items = parse_row(index, raw, read_image=False).items
            images += len(items)
            rejected += sum(isinstance(item, Rejected) for item in items)
        return Census(self.num_rows, images, rejected)


def open_manifest(manifest: str, columns: Columns = DEFAULT_COLUMNS) -> Manifest:
    """Open a manifest: a file, a folder of Parquet files, or a glob.

    Raises:
        ManifestError: nothing there, an unreadable file, a column that is missing or of an unsuitable type, files that
            disagree about their columns, or no rows at all.
    """
    sources = [_open_source(path, columns) for path in find_files(manifest)]
    num_rows = sum(source.num_rows for source in sources)
    if not num_rows:
        raise ManifestError(f"{manifest} has no rows")
    _check_agreement(sources)
    carried = {name: sources[0].types[name] for name in columns.carry}
    return Manifest(stem_of(manifest), num_rows, carried, sources=tuple(sources))


def prompt_manifest(prompts: tuple[str, ...]) -> Manifest:
    """A manifest of the prompts given, each with the default seed."""
    return Manifest("prompts", len(prompts), {}, prompts=prompts)


def _open_source(path: Path, columns: Columns) -> Source:
    match file_format(path):
        case "parquet":
            return ParquetSource(path, columns)
        case "csv":
            return CsvSource(path, columns)
        case _:
            return JsonlSource(path, columns)


def _check_agreement(sources: Sequence[Source]) -> None:
    first = sources[0]
    for source in sources[1:]:
        for name in dict.fromkeys([*first.types, *source.types]):
            here, there = (str(one.types.get(name, "missing")) for one in (first, source))
            if here != there:
                raise ManifestError(
                    f"the files of a manifest must agree: column {name!r} is {here} in {first.path}"
                    f" and {there} in {source.path}"
                )
