"""The images of a page, each with all that is known of it: what was measured, and the pictures to look at.

Text of any length and script comes from manifests: it is cut where nobody would read on, and what steers is escaped.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray

from memscan.scanner.errors import RowError, UsageError
from memscan.scanner.evaluation.overlap import overlap
from memscan.scanner.evaluation.protocol import fixed_counts
from memscan.scanner.evaluation.training_pictures import TrainingPictures
from memscan.scanner.evaluation.truth import GroundTruth, Truth
from memscan.scanner.metrics.catalogue import MAPS
from memscan.scanner.report import flags
from memscan.scanner.report.pictures import Picture, heat_map, photo, veil
from memscan.scanner.report.survey import Survey
from memscan.scanner.results.reader import Results
from memscan.scanner.samples import SAMPLED
from memscan.scanner.terminal import brief, printable_lines

MASK, TRUE_MASK = "mask", "true mask"
_LONGEST_PROMPT, _LONGEST_VALUE, _MOST_CARRIED = 2000, 200, 24
_DETAILS = (
    *("row", "seed", "step_index", "id", "prompt", "status", "score", "p_value", "truncated", "image_source"),
    *("mask", "mask_height", "mask_width", "mask_share"),
    *(f"{name}_mean" for name in MAPS),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Card:
    """An image. `layers` are what can be laid over `image` (a mask, maps), by name; `carried` are texts by column.

    `kind` and `iou` are of the ground truth. `sorted_by` has values of the columns that cards can be sorted by.
    """

    rank: int
    row: int
    seed: int
    id: str | None
    prompt: str
    score: float
    p_value: float | None
    mask_share: float | None
    flagged: bool
    truncated: bool
    given: bool
    kind: str | None
    iou: float | None
    carried: Mapping[str, str]
    sorted_by: Mapping[str, float | str | None]
    image: Picture | None
    training: Picture | None
    layers: Mapping[str, Picture]


def cards(
    results: Results, found: Survey, truth: GroundTruth | None, training: TrainingPictures | None
) -> Iterator[Card]:
    """The images with the highest scores of a survey, the highest first.

    Raises:
        UsageError: a mask, a map or a picture is missing or damaged.
    """
    if not found.top:
        return
    carried = results.carried[:_MOST_CARRIED]
    here = (ds.field("step_index") == found.step) & ds.field("row").isin([row for row, _ in found.top])
    columns = [name for name in (*_DETAILS, "threshold") if name in results.columns]
    table = results.rows(list(dict.fromkeys((*columns, *carried))), here)
    place = {key: at for at, key in enumerate(zip(table["row"].to_pylist(), table["seed"].to_pylist(), strict=True))}
    chosen = table.take([place[key] for key in found.top])
    rows, flagged = chosen.to_pylist(), flags.flagged(chosen, found.rate)
    maps = _maps(results, found, rows) if results.has_maps else [{} for _ in rows]
    images = results.image_files(found.top)
    masked = iter(results.masks(chosen.filter(ds.field("mask").is_valid())))
    for at, row in enumerate(rows):
        mask = None if row["mask"] is None else next(masked)
        known = _known(truth, row)
        layers = _layers(mask, known, maps[at])
        yield _card(
            at, row, bool(flagged[at]), mask, known, images[at], _training(row, known, training), layers, carried
        )


def _maps(results: Results, found: Survey, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, NDArray[np.float16]]]:
    """The maps of each image, by name: those that were measured of it."""
    maps: list[dict[str, NDArray[np.float16]]] = [{} for _ in rows]
    for name in MAPS:
        having = [at for at, row in enumerate(rows) if row.get(f"{name}_mean") is not None]
        if having:
            stack = results.maps(name, found.step, [found.top[at] for at in having])
            for at, values in zip(having, stack, strict=True):
                maps[at][name] = values
    return maps


def _card(
    at: int,
    row: Mapping[str, Any],
    flagged: bool,
    mask: NDArray[np.bool_] | None,
    known: Truth | None,
    image: bytes | None,
    training: Picture | None,
    layers: Mapping[str, Picture],
    carried: Sequence[str],
) -> Card:
    values = {name: row[name] for name in carried}
    basic = {name: row.get(name) for name in ("score", "p_value", "mask_share", "row", "seed", "id", "prompt")}
    return Card(
        rank=at + 1,
        row=row["row"],
        seed=row["seed"],
        id=None if row["id"] is None else brief(row["id"], _LONGEST_VALUE),
        prompt=_prompt(row["prompt"]),
        score=row["score"],
        p_value=row.get("p_value"),
        mask_share=row["mask_share"],
        flagged=flagged,
        truncated=bool(row.get("truncated")),
        given=row.get("image_source") not in (None, SAMPLED),
        kind=known.kind if known else None,
        iou=_iou(mask, known),
        carried={brief(name, _LONGEST_VALUE): brief(str(value), _LONGEST_VALUE) for name, value in values.items()},
        sorted_by={name: _sortable(value) for name, value in (basic | values).items()},
        image=None if image is None else _decoded(image, f"the image of row {row['row']}, seed {row['seed']}"),
        training=training,
        layers=layers,
    )


def _layers(
    mask: NDArray[np.bool_] | None, known: Truth | None, maps: Mapping[str, NDArray[np.float16]]
) -> dict[str, Picture]:
    layers = {} if mask is None else {MASK: veil(mask)}
    if known is not None and known.mask is not None:
        layers[TRUE_MASK] = veil(known.mask)
    return layers | {name: heat_map(values, name) for name, values in maps.items()}


def _known(truth: GroundTruth | None, row: Mapping[str, Any]) -> Truth | None:
    if truth is None:
        return None
    indices = truth.find(row["id"], row["prompt"], row["seed"], row["row"])
    return truth.truths[indices[0]] if indices else None


def _iou(mask: NDArray[np.bool_] | None, known: Truth | None) -> float | None:
    if mask is None or known is None or known.mask is None:
        return None
    return float(overlap(fixed_counts([mask], [known.mask]), np.zeros(1, dtype=np.intp)).iou)


def _training(row: Mapping[str, Any], known: Truth | None, pictures: TrainingPictures | None) -> Picture | None:
    what = f"the training picture of row {row['row']}"
    if pictures is not None:
        name = pictures.find(row["id"], row["prompt"], row["row"])
        try:
            encoded = None if name is None else pictures.read(name)
        except ValueError as error:
            raise UsageError(f"{what} cannot be read ({error})") from error
        if encoded is not None:
            return _decoded(encoded, what)
    return None if known is None or known.training_image is None else _decoded(known.training_image, what)


def _decoded(encoded: bytes, what: str) -> Picture:
    try:
        return photo(encoded)
    except RowError as error:
        raise UsageError(f"{what} cannot be decoded ({error})") from error


def _prompt(text: str) -> str:
    shown = printable_lines(text[:_LONGEST_PROMPT])
    left_out = len(text) - _LONGEST_PROMPT
    return shown if left_out <= 0 else f"{shown} ... ({left_out:,} more characters)"


def _sortable(value: Any) -> float | str | None:
    if isinstance(value, bool | int | float):
        return float(value) if math.isfinite(value) else None
    return None if value is None else brief(str(value), _LONGEST_VALUE)
