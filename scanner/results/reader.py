"""Reading a results folder back: its results (one row for each image and step), its maps, its images.

An image is known by its (row, seed). What a reader needs beyond the columns is in the Parquet metadata of the results,
see `run_metadata`. Whatever is read is compared with its checksum, and must be what a run can have written.
"""

import contextlib
import dataclasses
import functools
import io
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.errors import UsageError
from memscan.scanner.place import Place, place_of
from memscan.scanner.records import RecordError
from memscan.scanner.results import layout
from memscan.scanner.results.checked import check_table
from memscan.scanner.results.maps_table import MAPS_SCHEMA
from memscan.scanner.results.part_file import PartRecord, image_digest
from memscan.scanner.results.rle import decode
from memscan.scanner.results.run_metadata import read_run_metadata
from memscan.scanner.results.schema import COLUMNS
from memscan.scanner.results.store import Store
from memscan.scanner.results.store_at import store_at
from memscan.scanner.results.torn import Torn, parquet, told_apart
from memscan.scanner.samples import Key

if TYPE_CHECKING:
    import pandas

_ROWS_AT_ONCE = 4096
_ORDER = [("row", "ascending"), ("seed", "ascending"), ("step_index", "ascending")]


@dataclasses.dataclass(frozen=True)
class Origin:
    """What results were made by: memscan's version, the settings, which hold the bundle's digest, and if known when."""

    version: str
    settings: Mapping[str, Any]
    date: str | None


@dataclasses.dataclass(frozen=True)
class Results:
    """An opened results folder.

    `thresholds` holds, for (map, timestep), the calibrated threshold in the collapse unit, where there is one.
    `finished` says that no part is missing. `columns` are those of the results: a table of an earlier version lacks
    some of `COLUMNS`, and those carried from the manifest follow. `clean_prompts` are those that p-values are ranks
    among, if there are any.
    """

    path: Place
    latent_channels: int
    mask_map: str
    score_name: str
    thresholds: Mapping[tuple[str, int], float]
    origin: Origin
    finished: bool
    columns: tuple[str, ...]
    clean_prompts: int | None
    _store: Store = dataclasses.field(repr=False)
    _kept: object = dataclasses.field(default=None, repr=False)

    @functools.cached_property
    def table(self) -> pa.Table:
        """All rows and columns, in the order of the manifest: `results/schema.py` has the columns.

        Raises:
            UsageError: a part is damaged.
        """
        return self.rows(None)

    def to_pandas(self) -> "pandas.DataFrame":
        """The table as a pandas DataFrame (pandas must be installed)."""
        return self.table.to_pandas()

    def map(self, name: str, row: int, seed: int | None = None, step: int | None = None) -> NDArray[np.float16]:
        """The map `name` of an image at a step: float16 [h, w], channel means.

        Args:
            row: of the manifest.
            seed: may be left out where the row has one only.
            step: index of the measured step; may be left out where there is one only.

        Raises:
            UsageError: there is no such image or step, several of them, or no maps were kept.
        """
        row, seed, step = self._key(row, seed, step)
        return self.maps(name, step, [(row, seed)])[0]

    def mask(self, row: int, seed: int | None = None, step: int | None = None) -> NDArray[np.bool_] | None:
        """The mask of an image at a step, bool [h, w]; None where there is none. Arguments and errors as of `map`."""
        key = dict(zip(("row", "seed", "step_index"), self._key(row, seed, step), strict=True))
        where = functools.reduce(operator.and_, (ds.field(name) == value for name, value in key.items()))
        found = self.rows([*key, "mask", "mask_height", "mask_width"], where)
        return None if found["mask"].null_count else self.masks(found)[0]

    def image(self, row: int, seed: int | None = None) -> NDArray[np.uint8] | None:
        """The generated image of (row, seed), uint8 [H, W, 3], or None if it was not kept. Errors as of `map`."""
        row, seed, _ = self._key(row, seed, self._keys[0][2])
        content = self.image_file((row, seed))
        return None if content is None else np.asarray(Image.open(io.BytesIO(content)))

    @functools.cached_property
    def _keys(self) -> list[tuple[int, int, int]]:
        columns = self.rows(["row", "seed", "step_index"]).to_pydict()
        return list(zip(*columns.values(), strict=True))

    def _key(self, row: int, seed: int | None, step: int | None) -> tuple[int, int, int]:
        wanted = (row, seed, step)
        found = [key for key in self._keys if all(each in (None, its) for each, its in zip(wanted, key, strict=True))]
        asked = (
            f"row {row}"
            + (f", seed {seed}" if seed is not None else "")
            + (f", step {step}" if step is not None else "")
        )
        if not found:
            raise UsageError(f"{self.path} has no result of {asked}")
        if len(found) > 1:
            _, seeds, steps = (sorted(set(values)) for values in zip(*found, strict=True))
            several = f"seeds {_few(seeds)}" if len(seeds) > 1 else f"steps {_few(steps)}"
            raise UsageError(f"{self.path} has several results of {asked}: choose one of the {several}")
        return found[0]

    @functools.cached_property
    def is_empty(self) -> bool:
        """Whether there are no rows in any part: the manifest had none."""
        for name in _tables(self._store, layout.RESULTS):
            with _readable(self.path / name), parquet(self._store, name) as file:
                if file.metadata.num_rows:
                    return False
        return True

    @property
    def has_maps(self) -> bool:
        return bool(_tables(self._store, layout.MAPS))

    def rows(self, columns: Sequence[str] | None, where: ds.Expression | None = None) -> pa.Table:
        """The rows for which `where` holds, in the order of the manifest; `columns` include the key, None is all.

        Raises:
            UsageError: a part is damaged.
        """
        tables = [self._read(name, columns, where) for name in _tables(self._store, layout.RESULTS)]
        table = pa.concat_tables(tables)
        order = pc.sort_indices(table, _ORDER)
        in_order = np.array_equal(order.to_numpy(), np.arange(len(order)))
        return table if in_order else table.take(order)

    @property
    def carried(self) -> tuple[str, ...]:
        """The columns that were carried from the manifest."""
        return tuple(name for name in self.columns if name not in COLUMNS.names)

    def batches(self, columns: Sequence[str], where: ds.Expression | None = None) -> Iterator[pa.Table]:
        """The rows for which `where` holds, a few thousand at a time, part by part: memory does not grow with them.

        Args:
            columns: include `status`, and those that `where` asks for; what the results lack is left out.

        Raises:
            UsageError: a part is damaged.
        """
        present = [name for name in columns if name in self.columns]
        for name in _tables(self._store, layout.RESULTS):
            with _readable(self.path / name), parquet(self._store, name) as file:
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=present, use_threads=False):
                    table = pa.Table.from_batches([batch])
                    check_table(table, COLUMNS)
                    yield table if where is None else table.filter(where)

    def parts(self, columns: Sequence[str] | None, where: ds.Expression | None = None) -> Iterator[pa.Table]:
        """The rows for which `where` holds, part after part: one is in memory. Arguments and errors as of `rows`."""
        return (self._read(name, columns, where) for name in _tables(self._store, layout.RESULTS))

    @functools.cached_property
    def schema(self) -> pa.Schema:
        """All columns and their types, without metadata, as the first part has them."""
        name = _tables(self._store, layout.RESULTS)[0]
        with _readable(self.path / name), parquet(self._store, name) as file:
            return file.schema_arrow.remove_metadata()

    def masks(self, table: pa.Table) -> list[NDArray[np.bool_]]:
        """The masks bool [h, w] of the rows of a table that holds them, each of which has one.

        Raises:
            UsageError: a mask is malformed.
        """
        stored = (table[column].to_pylist() for column in ("mask", "mask_height", "mask_width"))
        try:
            return [decode(*mask) for mask in zip(*stored, strict=True)]
        except (ValueError, TypeError) as error:  # TypeError: one of the three is null
            raise _damaged(self.path / layout.RESULTS, str(error)) from error

    def maps(self, name: str, step_index: int, keys: Sequence[Key]) -> NDArray[np.float16]:
        """The map `name` of the images `keys` at a step: float16 [N, h, w] in their order, channel means.

        Raises:
            UsageError: the map of an image is missing, or a part is damaged.
        """
        place = {key: index for index, key in enumerate(keys)}
        stack: NDArray[np.float16] | None = None
        columns = ["row", "seed", "height", "width", "data"]
        rows = [row for row, _ in keys]
        where = (ds.field("map") == name) & (ds.field("step_index") == step_index)
        where &= (ds.field("row") >= min(rows)) & (ds.field("row") <= max(rows))
        for file in _tables(self._store, layout.MAPS):
            for batch in self._read(file, columns, where).to_batches():
                for row, seed, height, width, data in zip(*batch.to_pydict().values(), strict=True):
                    index = place.pop((row, seed), None)
                    if index is None:
                        continue
                    if min(height, width) < 1 or len(data) != 2 * height * width:
                        raise _damaged(self.path / file, f"a map has {len(data)} bytes for {height} x {width} pixels")
                    if stack is None:
                        stack = np.empty((len(keys), height, width), dtype="<f2")
                    if (height, width) != stack.shape[1:]:
                        raise _damaged(self.path / file, "its maps are of different sizes")
                    stack[index] = np.frombuffer(data, dtype="<f2").reshape(height, width)
        if place or stack is None:
            raise UsageError(
                f"{self.path / layout.MAPS} lacks {name} at step {step_index} of {len(place)} images,"
                f" the first (row, seed) {min(place)}: finish the run with the same command"
            )
        if not np.isfinite(stack).all():
            raise UsageError(f"{self.path / layout.MAPS}: {name} at step {step_index} has values that are not finite")
        return stack

    def image_file(self, key: Key) -> bytes | None:
        """The image file of `key`, or None if the run did not save it.

        Raises:
            UsageError: it is missing, or is not what the run saved.
        """
        return self._content(self._images.get(layout.image_name(*key)))

    def image_files(self, keys: Sequence[Key]) -> list[bytes | None]:
        """The image file of each of `keys`, as `image_file`; nothing is held of the other images of the run."""
        names = [layout.image_name(*key) for key in keys]
        saved = self._saved(set(names))
        return [self._content(saved.get(name)) for name in names]

    def _content(self, saved: tuple[str, str] | None) -> bytes | None:
        if saved is None:
            return None
        name, digest = saved
        try:
            with self._store.open(name) as stream:
                content = stream.read()
        except FileNotFoundError:
            content = b""
        if image_digest(content) != digest:
            raise _damaged(self.path / name, "it is not the image that was saved")
        return content

    @functools.cached_property
    def _images(self) -> dict[str, tuple[str, str]]:
        return self._saved(None)

    def _saved(self, wanted: set[str] | None) -> dict[str, tuple[str, str]]:
        """Name in the store, and digest, of the saved images with the `wanted` file names, or of all, by these."""
        found = {}
        for file in _tables(self._store, layout.RESULTS):
            number = layout.part_number(file)
            with _readable(self.path / file), parquet(self._store, file) as part:
                metadata = part.schema_arrow.metadata or {}
            if number is not None:
                try:
                    images = PartRecord.images_of(metadata)
                except RecordError as error:
                    raise _damaged(self.path / file, str(error)) from error
                chosen = images if wanted is None else wanted & images.keys()
                found.update({name: (layout.image(number, name), images[name].digest) for name in chosen})
        return found

    def _read(self, name: str, columns: Sequence[str] | None, where: ds.Expression | None) -> pa.Table:
        """The rows of one file; a column of ours that its version did not have yet is null."""
        with _readable(self.path / name), self._store.open(name) as stream, told_apart():
            there = set(pq.read_schema(stream).names)
            lacking = [column for column in columns or () if column not in there and column in COLUMNS.names]
            stream.seek(0)
            table = pq.read_table(
                stream,
                columns=None if columns is None else [column for column in columns if column not in lacking],
                filters=where,
                use_threads=False,
                pre_buffer=False,
                page_checksum_verification=True,
            )
            check_table(table, MAPS_SCHEMA if name.startswith(layout.MAPS) else COLUMNS)
            for column in lacking:
                field = COLUMNS.field(column)
                table = table.append_column(field, pa.nulls(len(table), field.type))
            return table


def open_results(path: str | Place, *, kept: object = None) -> Results:
    """Open the results folder `path`, of this machine or by its URL (what `memscan run --out` wrote).

    Args:
        kept: is held as long as the results are: what the folder vanishes with.

    Raises:
        UsageError: no such folder, no finished part in it, or an unreadable part.
    """
    place = place_of(path)
    store = store_at(place)
    files = _tables(store, layout.RESULTS)
    if not files:
        raise UsageError(f"no results in {place}: give the folder that `memscan run` wrote (its --out)")
    with _readable(place / files[0]), parquet(store, files[0]) as file:
        schema = file.schema_arrow
    found = schema.metadata or {}
    try:
        said = read_run_metadata(found)
    except KeyError as error:
        raise UsageError(
            f"{place / layout.RESULTS} was not written by `memscan run`: it lacks {error.args[0]}"
        ) from error
    except RecordError as error:
        raise _damaged(place / files[0], str(error)) from error
    return Results(
        path=place,
        latent_channels=said.latent_channels,
        mask_map=said.mask_map,
        score_name=said.score_name,
        thresholds={(one.map, one.timestep): one.threshold for one in said.thresholds},
        origin=Origin(said.version, said.settings, said.date),
        clean_prompts=said.clean_prompts,
        finished=layout.SUCCESS in store.names(layout.SUCCESS),
        columns=tuple(schema.names),
        _store=store,
        _kept=kept,
    )


def _few(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:5])) + (" ..." if len(values) > 5 else "")


def _tables(store: Store, prefix: str) -> list[str]:
    return [name for name in store.names(prefix) if layout.read_as_table(name)]


@contextlib.contextmanager
def _readable(file: Place) -> Iterator[None]:
    try:
        yield
    except Torn as torn:
        raise _damaged(file, str(torn)) from torn


def _damaged(file: Place, why: str) -> UsageError:
    return UsageError(f"{file} is damaged ({why}): the command of the run does it again")
