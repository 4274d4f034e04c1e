"""How strongly each prompt of a trained model is memorized: a row for each, of a scan of many seeds."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray
from PIL import Image as Pillow

from memscan.scanner.evaluation.copies import COPY_RMSE
from memscan.scanner.results.reader import Results
from testbed.bench.copies import Originals, distances, is_copy, strength
from testbed.bench.grades import COUNTS
from testbed.bench.model import MEASURED_SEEDS, Model
from testbed.bench.scans import CARRIED, strength_scan

AT_ONCE = 64  # images that are compared together
BINS = ("never", "rarely", "often", "always")


def strength_file(model: Model) -> Path:
    """Where the strengths of a model's prompts are kept."""
    file = model.file("strength")
    return file.with_name(f"{file.name}.csv")


def image_distances(results: Results, owned: Originals) -> tuple[pa.Table, NDArray[np.float64]]:
    """The images of a scan, a row for each (row, seed), and their distances [N, P] to everything that is owned."""
    table = results.rows(["row", "seed", "step_index", "id", "prompt", *CARRIED])
    table = table.filter(pc.equal(table["step_index"], pc.min(table["step_index"])))
    keys = list(zip(table["row"].to_pylist(), table["seed"].to_pylist(), strict=True))
    found = [
        distances(np.stack([_image(results, key) for key in keys[first : first + AT_ONCE]]), owned)
        for first in range(0, len(keys), AT_ONCE)
    ]
    return table, np.concatenate(found)


def _image(results: Results, key: tuple[int, int]) -> NDArray[np.float64]:
    content = results.image_file(key)
    if content is None:
        raise FileNotFoundError(f"{results.path} holds no image of row {key[0]}, seed {key[1]}: scan with images")
    return np.asarray(Pillow.open(io.BytesIO(content)).convert("RGB")) / 255


def strengths(table: pa.Table, found: NDArray[np.float64], owned: Originals) -> pa.Table:
    """A row for each prompt.

    `strength` is the share of its images that copy what the caption owns, `nearest` their mean distance to it, of a
    prompt that owns nothing the same with whatever is nearest; `any` is the share that copies anything at all.
    """
    place = {int(index): column for column, index in enumerate(owned.captions)}
    rows = np.array(table["row"].to_pylist())
    own = [place.get(index) for index in table["index"].to_pylist()]
    nearest = found.min(axis=1)
    to_own = np.array([nearest[i] if column is None else found[i, column] for i, column in enumerate(own)])
    records = table.to_pylist()
    made = []
    for row in np.unique(rows):
        chosen = np.flatnonzero(rows == row)
        first = records[chosen[0]]
        made.append(
            {key: first[key] for key in ("id", "prompt", *CARRIED)}
            | {
                "seeds": len(chosen),
                "strength": strength(to_own[chosen]),
                "any": float(is_copy(nearest[chosen]).mean()),
                "nearest": float(to_own[chosen].mean()),
            }
        )
    return pa.Table.from_pylist(made)


def binned(strength: NDArray[np.floating]) -> NDArray[np.str_]:
    """The bin of each strength [N]: never copied, in less than half of the seeds, in half of them or more, in all."""
    return np.array(BINS)[(strength > 0).astype(int) + (strength >= 0.5) + (strength == 1)]


def strength_lines(found: pa.Table) -> Iterator[str]:
    """Dose and strength as text: by kind and count, the mean and how many captions are copied always or never."""
    rows = found.to_pylist()
    yield f"{'kind':<10} {'count':>5} {'prompts':>7} {'strength':>8}" + "".join(f" {name:>6}" for name in BINS)
    for kind in dict.fromkeys(row["kind"] for row in rows):
        for count in (0, *COUNTS):
            of = np.array([row["strength"] for row in rows if (row["kind"], row["count"]) == (kind, count)])
            if len(of):
                numbers = "".join(f" {(binned(of) == name).sum():>6}" for name in BINS)
                yield f"{kind:<10} {count or '':>5} {len(of):>7} {of.mean():>8.2f}{numbers}"


def measure(model: Model, owned: Originals) -> pa.Table:
    """Scan a trained model, compare, and write its strengths; returns them."""
    table, found = image_distances(strength_scan(model), owned)
    made = strengths(table, found, owned)
    pyarrow.csv.write_csv(made, strength_file(model))
    return made


def null_line(model: Model, owned: Originals) -> str:
    """How far the images of a model that has seen none of the originals are from them, as text."""
    _, null = image_distances(strength_scan(model, MEASURED_SEEDS), owned)
    return (
        f"{null.size} pairs of an image of {model.file('').name.strip('-')}, which has seen none of them, and a"
        f" training picture: distance {null.min():.3f} or more; a copy is below {COPY_RMSE:.3f}"
    )
