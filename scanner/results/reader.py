"""Reading a results folder back: OUT/results (one row for each image and step), OUT/maps, OUT/images.

An image is known by its (row, seed). What a reader needs beyond the columns is in the Parquet metadata of the results:
the number of latent channels, the map that the masks were made of, the column that the score is, and the bundle's
calibrated thresholds at the settings of the run.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError

_CHANNELS, _RUN, _THRESHOLDS = b"memscan.latent_channels", b"memscan.run", b"memscan.thresholds"
_METADATA = (_CHANNELS, _RUN, _THRESHOLDS)

Key = tuple[int, int]
"""(row, seed) of an image."""


@dataclasses.dataclass(frozen=True)
class Results:
    """An opened results folder.

    `thresholds` holds, for (map, timestep), the calibrated threshold in the collapse unit, where there is one.
    `finished` says that no part is missing.
    """

    path: Path
    latent_channels: int
    mask_map: str
    score_name: str
    thresholds: dict[tuple[str, int], float]
    finished: bool
    _dataset: ds.Dataset = dataclasses.field(repr=False)

    @property
    def has_maps(self) -> bool:
        return any((self.path / "maps").glob("*.parquet"))

    def rows(self, columns: Sequence[str], where: ds.Expression | None = None) -> pa.Table:
        """The rows for which `where` holds, in the order of the manifest; `columns` include the key."""
        with _readable(self.path / "results"):
            table = self._dataset.to_table(columns=list(columns), filter=where)
        return table.sort_by([("row", "ascending"), ("seed", "ascending"), ("step_index", "ascending")])

    def maps(self, name: str, step_index: int, keys: Sequence[Key]) -> NDArray[np.float16]:
        """The map `name` of the images `keys` at a step: float16 [N, h, w] in their order, channel means.

        Raises:
            UsageError: the map of an image is missing.
        """
        place = {key: index for index, key in enumerate(keys)}
        stack: NDArray[np.float16] | None = None
        columns = ["row", "seed", "height", "width", "data"]
        where = (ds.field("map") == name) & (ds.field("step_index") == step_index)
        with _readable(self.path / "maps"):
            for batch in _dataset(self.path / "maps").to_batches(columns=columns, filter=where):
                for row, seed, height, width, data in zip(*batch.to_pydict().values(), strict=True):
                    index = place.pop((row, seed), None)
                    if index is None:
                        continue
                    if stack is None:
                        stack = np.empty((len(keys), height, width), dtype="<f2")
                    stack[index] = np.frombuffer(data, dtype="<f2").reshape(height, width)
        if place or stack is None:
            raise UsageError(
                f"{self.path / 'maps'} lacks {name} at step {step_index} of {len(place)} images,"
                f" the first (row, seed) {min(place)}: finish the run with the same command"
            )
        return stack

    def image(self, key: Key) -> Path | None:
        """The generated image of `key`, or None if the run did not save it."""
        path = self.path / "images" / f"{key[0]:08d}-{key[1]}.png"
        return path if path.is_file() else None


def open_results(path: Path) -> Results:
    """Open the results folder `path` (what `memscan run --out` wrote).

    Raises:
        UsageError: no such folder, no finished part in it, or an unreadable part.
    """
    if not any((path / "results").glob("*.parquet")):
        raise UsageError(f"no results in {path}: give the folder that `memscan run` wrote (its --out)")
    dataset = _dataset(path / "results")
    try:
        metadata = {key: json.loads((dataset.schema.metadata or {})[key]) for key in _METADATA}
    except KeyError as error:
        raise UsageError(
            f"{path / 'results'} was not written by `memscan run`: it lacks {error.args[0].decode()}"
        ) from error
    return Results(
        path=path,
        latent_channels=metadata[_CHANNELS],
        mask_map=metadata[_RUN]["settings"]["mask_map"],
        score_name=metadata[_RUN]["settings"]["score_name"],
        thresholds={(one["map"], one["timestep"]): one["threshold"] for one in metadata[_THRESHOLDS]},
        finished=(path / "results" / "_SUCCESS").is_file(),
        _dataset=dataset,
    )


def _dataset(folder: Path) -> ds.Dataset:
    files = sorted(str(file) for file in folder.glob("*.parquet"))
    with _readable(folder):
        return ds.dataset(files, format="parquet")


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise UsageError(f"{folder} cannot be read: {str(error).splitlines()[0]}") from error
