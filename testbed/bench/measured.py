"""The images of measuring scans, of one or several trainings, with the strength of their prompts."""

import csv
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from memscan.scanner.results.reader import Results
from memscan.scanner.results.schema import SCORE_COLUMNS
from testbed.bench.model import Model
from testbed.bench.strength import strength_file
from testbed.cells import cover


@dataclasses.dataclass(frozen=True)
class Measured:
    """N images at one timestep.

    Attributes:
        captions: [N], the prompt that an image belongs to; each training counts its own.
        trainings: [N], the training that it was made by.
        kinds, counts, splits: [N], as in the manifest.
        strength: [N], of the prompt: the share of its seeds that copy what it owns.
        copies: [N], the share that copies anything.
        scores: by column of the results, [N], greater for what is more memorized.
        local: indices of the images of local captions; of these alone there are maps and truths.
        maps: by name, [L, h, w].
        truth: by name of the map, [L, h, w], the share of each of its cells that is memorized.
    """

    captions: NDArray[np.intp]
    trainings: NDArray[np.intp]
    kinds: NDArray[np.str_]
    counts: NDArray[np.int64]
    splits: NDArray[np.str_]
    strength: NDArray[np.float64]
    copies: NDArray[np.float64]
    scores: dict[str, NDArray[np.float64]]
    local: NDArray[np.intp]
    maps: dict[str, NDArray[np.float16]]
    truth: dict[str, NDArray[np.float64]]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Copied in at least half of the seeds."""
        return self.strength >= 0.5

    @property
    def negative(self) -> NDArray[np.bool_]:
        """Never copies anything."""
        return self.copies == 0

    def of(self, chosen: NDArray[np.bool_]) -> "Measured":
        """The images [N] that are chosen."""
        kept = chosen[self.local]
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[chosen] for name in _PER_IMAGE},
            scores={name: values[chosen] for name, values in self.scores.items()},
            local=(np.cumsum(chosen) - 1)[self.local[kept]],
            maps={name: maps[kept] for name, maps in self.maps.items()},
            truth={name: truth[kept] for name, truth in self.truth.items()},
        )


_PER_IMAGE = ("captions", "trainings", "kinds", "counts", "splits", "strength", "copies")


def measured(model: Model, results: Results, timestep: int, maps: Sequence[str]) -> Measured:
    """The images of one scan at a timestep, with the strengths that were measured of its model.

    Raises:
        FileNotFoundError: the strengths of the model have not been measured.
    """
    with strength_file(model).open(newline="") as file:
        strengths = {row["id"]: (float(row["strength"]), float(row["any"])) for row in csv.DictReader(file)}
    table = results.table.filter(pc.field("timestep") == timestep)
    step = table["step_index"][0].as_py()
    found = np.array([strengths[name] for name in table["id"].to_pylist()])
    kinds, indices = np.array(table["kind"].to_pylist()), table["index"].to_pylist()
    local = np.flatnonzero(kinds == "local")
    keys = list(zip(table["row"].to_pylist(), table["seed"].to_pylist(), strict=True))
    kept = {name: results.maps(name, step, [keys[i] for i in local]) for name in maps}
    masks = {index: model.mask(index) for index in {indices[i] for i in local}}
    return Measured(
        captions=table["row"].to_numpy(),
        trainings=np.zeros(len(kinds), dtype=np.intp),
        kinds=kinds,
        counts=table["count"].to_numpy(),
        splits=np.array(table["split"].to_pylist()),
        strength=found[:, 0],
        copies=found[:, 1],
        scores={
            name: metric.sign * table[name].to_numpy()
            for name, metric in SCORE_COLUMNS.items()
            if not table[name].null_count
        },
        local=local,
        maps=kept,
        truth={
            name: np.stack([cover(masks[indices[i]], found.shape[1:]) for i in local]) for name, found in kept.items()
        },
    )


def pooled(parts: Sequence[Measured]) -> Measured:
    """The images of several trainings together; what one of them has no scores or maps of is left out."""
    before = np.cumsum([0, *(len(part.captions) for part in parts[:-1])])
    apart = np.cumsum([0, *(int(part.captions.max()) + 1 for part in parts[:-1])])

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    def each(name: str) -> dict[str, NDArray[Any]]:
        found = [getattr(part, name) for part in parts]
        return {
            key: np.concatenate([one[key] for one in found]) for key in found[0] if all(key in one for one in found)
        }

    return Measured(
        captions=np.concatenate([part.captions + offset for part, offset in zip(parts, apart, strict=True)]),
        trainings=np.concatenate([np.full(len(part.captions), number) for number, part in enumerate(parts)]),
        kinds=joined("kinds"),
        counts=joined("counts"),
        splits=joined("splits"),
        strength=joined("strength"),
        copies=joined("copies"),
        scores=each("scores"),
        local=np.concatenate([part.local + offset for part, offset in zip(parts, before, strict=True)]),
        maps=each("maps"),
        truth=each("truth"),
    )
