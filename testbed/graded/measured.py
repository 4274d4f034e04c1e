"""The images of measuring scans, of one or several trainings, with the strength of their prompts."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from memscan.scanner.results.reader import Results
from memscan.scanner.results.schema import SCORE_COLUMNS
from testbed.cells import cover
from testbed.dataset import masks
from testbed.graded.captions import graded
from testbed.graded.scans import Model
from testbed.graded.strength import strength_file


@dataclass(frozen=True)
class Measured:
    """N images at one timestep.

    Attributes:
        captions: [N], the prompt that an image belongs to; each training counts its own.
        kinds, counts: [N], as in the manifest.
        strength: [N], of the prompt: the share of its seeds that copy what it owns.
        copies: [N], the share that copies anything.
        scores: by column of the results, [N], greater for what is more memorized.
        local: indices of the images of local captions; of these alone there are maps and truths.
        maps: by name, [L, h, w].
        truth: [L, h, w], the share of each cell that is memorized.
    """

    captions: NDArray[np.intp]
    kinds: NDArray[np.str_]
    counts: NDArray[np.int64]
    strength: NDArray[np.float64]
    copies: NDArray[np.float64]
    scores: dict[str, NDArray[np.float64]]
    local: NDArray[np.intp]
    maps: dict[str, NDArray[np.float16]]
    truth: NDArray[np.float64]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Copied in at least half of the seeds."""
        return self.strength >= 0.5

    @property
    def negative(self) -> NDArray[np.bool_]:
        """Never copies anything."""
        return self.copies == 0


def measured(model: Model, results: Results, timestep: int, maps: Sequence[str]) -> Measured:
    """The images of one scan at a timestep, with the strengths that `python -m testbed.graded.strength` left.

    Raises:
        FileNotFoundError: the strengths of the model have not been measured.
    """
    with strength_file(model).open(newline="") as file:
        strengths = {row["id"]: (float(row["strength"]), float(row["any"])) for row in csv.DictReader(file)}
    table = results.table.filter(pc.field("timestep") == timestep)
    step = table["step_index"][0].as_py()
    found = np.array([strengths[name] for name in table["id"].to_pylist()])
    kinds = np.array(table["kind"].to_pylist())
    local = np.flatnonzero(kinds == "local")
    keys = list(zip(table["row"].to_pylist(), table["seed"].to_pylist(), strict=True))
    kept = {name: results.maps(name, step, [keys[i] for i in local]) for name in maps}
    shape = next(iter(kept.values())).shape[1:]
    captions, indices = graded(model.seed), table["index"].to_pylist()
    return Measured(
        captions=table["row"].to_numpy(),
        kinds=kinds,
        counts=table["count"].to_numpy(),
        strength=found[:, 0],
        copies=found[:, 1],
        scores={
            name: metric.sign * table[name].to_numpy()
            for name, metric in SCORE_COLUMNS.items()
            if not table[name].null_count
        },
        local=local,
        maps=kept,
        truth=np.stack([cover(masks(captions[indices[i]].caption).memorized, shape) for i in local]),
    )


def pooled(parts: Sequence[Measured]) -> Measured:
    """The images of several trainings together."""
    before = np.cumsum([0, *(len(part.captions) for part in parts[:-1])])
    apart = np.cumsum([0, *(int(part.captions.max()) + 1 for part in parts[:-1])])

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    return Measured(
        captions=np.concatenate([part.captions + offset for part, offset in zip(parts, apart, strict=True)]),
        kinds=joined("kinds"),
        counts=joined("counts"),
        strength=joined("strength"),
        copies=joined("copies"),
        scores={name: np.concatenate([part.scores[name] for part in parts]) for name in parts[0].scores},
        local=np.concatenate([part.local + offset for part, offset in zip(parts, before, strict=True)]),
        maps={name: np.concatenate([part.maps[name] for part in parts]) for name in parts[0].maps},
        truth=joined("truth"),
    )
