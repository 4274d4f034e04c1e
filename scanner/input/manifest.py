"""What is to be scanned: the rows of one or several files, or prompts given on the command line.

Columns: `prompt` (text), and optionally `seed` (an integer or a list of integers, one image each; default 0), `id`
(anything, stored as text), `image` (encoded bytes, or a path that starts at the manifest's file: this image is scanned
instead of a sampled one). Others can be carried through to the results.

A manifest is read as a stream, several times if need be; memory does not grow with its rows.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import DEFAULT_COLUMNS, MAX_NAMES, ROLES, Columns, Used
from memscan.scanner.input.csv_file import CsvSource
from memscan.scanner.input.files import find_files, partitions_of
from memscan.scanner.input.formats import STDIN, check_name, format_of
from memscan.scanner.input.input_file import InputFile, spooled_stdin
from memscan.scanner.input.jsonl_file import JsonlSource
from memscan.scanner.input.names import name_of
from memscan.scanner.input.parquet import ParquetSource
from memscan.scanner.input.reading import DEFAULT_READING, Reading
from memscan.scanner.input.rows import RawRow, judge
from memscan.scanner.input.sampling import sample_rows
from memscan.scanner.input.text_file import TextSource
from memscan.scanner.place import Place


class Source(Protocol):
    """One file of a manifest. Opening it checks its columns and counts its rows.

    `types` maps the roles of used columns to their types, as far as the file's format gives them types; `carried` maps
    carried columns to theirs. `remarks` are lines that the user should read.
    """

    file: InputFile
    num_rows: int
    used: Used
    types: dict[str, pa.DataType]
    carried: dict[str, pa.DataType]
    remarks: tuple[str, ...]

    def rows(self, start: int, stop: int, *, images: bool) -> Iterator[RawRow]: ...


@dataclasses.dataclass(frozen=True)
class Census:
    """How much there is to do: `images` counts (row, seed) pairs, and `rejected` those among them known to be bad.

    `reasons` say why, of the first few rows.
    """

    rows: int
    images: int
    rejected: int
    reasons: tuple[str, ...] = dataclasses.field(default=(), compare=False)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """An opened manifest. `carried` holds the types of the columns to be carried through.

    `name` is safe as a file's name and another one for each manifest, as `names` says. `unused` are the names of the
    columns that nothing reads, and `remarks` the lines that the user should read of them and of what was left out.
    `sampled` are the indices, ascending, of the rows that were chosen, if some were, and `selection` says how.
    """

    name: str
    num_rows: int
    carried: dict[str, pa.DataType]
    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    sources: tuple[Source, ...] = ()
    unused: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    sampled: NDArray[np.int64] | None = None
    selection: str = ""

    def first(self, count: int) -> "Manifest":
        """The manifest that ends after `count` rows: with more of them, it goes on as one that has grown."""
        return dataclasses.replace(self, num_rows=min(count, self.num_rows))

    def sample(self, count: int, seed: int) -> "Manifest":
        """The manifest of `count` of its rows, chosen at random; they keep their indices."""
        return dataclasses.replace(
            self,
            num_rows=min(count, self.num_rows),
            sampled=sample_rows(self.num_rows, count, seed),
            selection=f"{count} of {self.num_rows} rows by seed {seed}",
        )

    def index(self, place: int) -> int:
        """The index in the whole manifest of the row at a place of this one."""
        return place if self.sampled is None else int(self.sampled[place])

    def place(self, index: int) -> int:
        """The inverse of `index`; of a row that was not chosen, the place where it would be."""
        return index if self.sampled is None else int(np.searchsorted(self.sampled, index))

    @property
    def one_image_a_row(self) -> bool:
        """Whether every row has one image, whatever it holds: nothing says seeds."""
        return (self.seeds is None or len(self.seeds) == 1) and not any("seed" in one.used for one in self.sources)

    def rows(self, start: int = 0, stop: int | None = None, *, images: bool = True) -> Iterator[RawRow]:
        """The rows at the places from `start` to before `stop` (default: the end); what lies outside is not read.

        Args:
            images: False leaves images unread.

        Raises:
            ManifestError: a row group cannot be read, or a file has changed since the manifest was opened.
        """
        stop = self.num_rows if stop is None else min(stop, self.num_rows)
        if self.sampled is None:
            yield from self._whole(start, stop, images)
        elif start < stop:
            wanted = self.sampled[start:stop]
            span = range(int(wanted[0]), int(wanted[-1]) + 1)
            chosen = set(wanted.tolist())
            yield from (
                raw
                for index, raw in zip(span, self._whole(span.start, span.stop, images), strict=True)
                if index in chosen
            )

    def _whole(self, start: int, stop: int, images: bool) -> Iterator[RawRow]:
        for prompt in self.prompts[start:stop]:
            yield RawRow(Path(), prompt=prompt, seed=None if self.seeds is None else list(self.seeds))
        first = len(self.prompts)
        for source in self.sources:
            begin, end = max(start - first, 0), min(stop - first, source.num_rows)
            if begin < end:
                yield from _all_of(source, begin, end, images)
            first += source.num_rows

    def census(self) -> Census:
        """Read everything but image files once, so that a file which breaks in the middle is found before work begins.

        Raises:
            ManifestError: as `rows`.
        """
        images = rejected = 0
        for raw in self.rows():
            asked = judge(raw)
            images += len(asked.seeds)
            rejected += len(asked.seeds) if asked.error is not None else 0
        return Census(self.num_rows, images, rejected)


def open_manifest(
    manifest: str | Sequence[str], columns: Columns = DEFAULT_COLUMNS, reading: Reading = DEFAULT_READING
) -> Manifest:
    """Open a manifest: a file, a folder of Parquet files, a glob, `-` for standard input, or several of them.

    Raises:
        ManifestError: nothing there, an unreadable file, a column that is missing or of an unsuitable type, or files
            that disagree about their columns.
    """
    named = [manifest] if isinstance(manifest, str) else list(manifest)
    found = find_files(named)
    files = [_input_file(path, columns, reading) for path in found.paths]
    formats = {file.format: file.path.name for file in files}
    if len(formats) > 1:
        first, second, *_ = formats.values()
        raise ManifestError(f"a manifest has files of one format, but {' '.join(named)} has {first} and {second}")
    sources = [_open_source(file, columns, reading) for file in files]
    num_rows = sum(source.num_rows for source in sources)
    filled = [source for source in sources if source.num_rows] or sources[:1]
    _check_agreement(filled, columns)
    unused: dict[str, None] = {}
    for source in sources:
        if len(unused) < MAX_NAMES:
            unused |= dict.fromkeys(source.used.unused)
    lacking = [role for role in ROLES if role not in filled[0].used]
    remarks = (*found.remarks, *(line for one in sources for line in one.remarks), *columns.remarks([*unused], lacking))
    carried = {name: filled[0].carried.get(name, pa.string()) for name in columns.carry}  # of JSONL without rows, none
    return Manifest(
        name_of(named, files), num_rows, carried, sources=tuple(sources), unused=tuple(unused), remarks=remarks
    )


def prompt_manifest(prompts: tuple[str, ...], seeds: tuple[int, ...] | None = None) -> Manifest:
    """A manifest of the prompts given, each with the seeds given, or else the default one."""
    return Manifest("prompts", len(prompts), {}, prompts=prompts, seeds=seeds)


def _input_file(path: Place, columns: Columns, reading: Reading) -> InputFile:
    is_stdin = path == STDIN
    if not is_stdin and reading.format is None:
        check_name(path)
    folder = reading.image_root or (Path() if is_stdin else path.parent)
    partitions = {} if is_stdin else partitions_of(path)
    file = InputFile(path, folder, "", partitions, spooled_stdin() if is_stdin else None)
    return dataclasses.replace(file, format=format_of(file, columns, reading))


def _open_source(file: InputFile, columns: Columns, reading: Reading) -> Source:
    match file.format:
        case "parquet":
            return ParquetSource(file, columns, quarantines=reading.on_bad_input == "quarantine")
        case "csv":
            return CsvSource(file, columns, reading)
        case "jsonl":
            return JsonlSource(file, columns, reading)
        case _:
            return TextSource(file, columns, reading)


def _all_of(source: Source, start: int, stop: int, images: bool) -> Iterator[RawRow]:
    count = 0
    for raw in source.rows(start, stop, images=images):
        yield raw
        count += 1
    if count != stop - start:
        raise ManifestError(f"{source.file.path} has changed while it was read: start again")


def _check_agreement(sources: Sequence[Source], columns: Columns) -> None:
    first = sources[0]
    for source in sources[1:]:
        for role in dict.fromkeys([*first.types, *source.types]):
            _check_same(getattr(columns, role) or role, first, source, first.types.get(role), source.types.get(role))
        for name in columns.carry:
            _check_same(name, first, source, first.carried.get(name), source.carried.get(name))


def _check_same(name: str, first: Source, second: Source, here: pa.DataType | None, there: pa.DataType | None) -> None:
    if here != there:
        raise ManifestError(
            f"the files of a manifest must agree: column {name!r} is {here or 'missing'} in {first.file.path}"
            f" and {there or 'missing'} in {second.file.path}"
        )
