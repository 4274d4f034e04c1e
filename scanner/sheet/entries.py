"""What a contact sheet shows: which images of the results, and everything that is known of each of them."""

import dataclasses
import io
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.truth import KINDS, GroundTruth, Truth
from memscan.scanner.metrics.catalogue import MAPS
from memscan.scanner.results.reader import Origin, Results
from memscan.scanner.samples import SAMPLED, Key

_KEY = ("row", "seed", "step_index")
_DETAILS = (
    *("id", "prompt", "score", "mask", "mask_height", "mask_width"),
    *("timestep", "sigma", "threshold", "calibrated", "model_id", "image_source"),
)
_MEANS = tuple(f"{name}_mean" for name in MAPS)


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One image of the sheet: `mask` is bool [h, w]; `maps`, float16 [h, w] by name, is empty if none were saved.

    `mask` is None if there is no threshold. `given` says that the row brought the image.
    """

    row: int
    id: str | None
    prompt: str
    seed: int
    score: float
    mask: NDArray[np.bool_] | None
    maps: dict[str, NDArray[np.float16]]
    generated: Image.Image | None
    truth: Truth | None
    given: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """The images of one step that a sheet shows, out of `total`, and what they have in common.

    `steps` are all that were measured. `reaching` counts those of all `total` that have a pixel at the threshold or
    above. `threshold` is None where masks are null, and `calibrated` says whether the bundle vouches for it.
    """

    entries: tuple[Entry, ...]
    total: int
    reaching: int
    steps: tuple[int, ...]
    origin: Origin
    model_id: str
    mask_map: str
    score_name: str
    step: int
    timestep: int
    sigma: float
    threshold: float | None
    calibrated: bool


def select(results: Results, truth: GroundTruth | None, step: int | None, limit: int) -> Selection:
    """Choose at most `limit` images measured at a step (default: the last one), and load what is drawn of them.

    With ground truth the kinds take turns, and the captions of a kind too, among images that have ground truth; without
    it the highest scores come first. Images with errors are never shown.

    Raises:
        UsageError: no such step, or no image to draw.
    """
    steps = tuple(sorted(pc.unique(results.rows(_KEY)["step_index"]).to_pylist()))
    step = _measured_step(steps, step)
    here = (ds.field("step_index") == step) & (ds.field("status") == "ok")
    table = results.rows([*_KEY, "id", "prompt", "score", "mask_share"], here)
    truths = [_known(truth, one) for one in table.select(["id", "prompt", "seed", "row"]).to_pylist()]
    order = _by_score(table) if truth is None else _by_kind(truths)
    if not order:
        lack = "error rows only" if truth is None else "no scanned image has ground truth"
        raise UsageError(f"nothing to draw in {results.path} at step {step}: {lack}")
    shown = order[:limit] if truth is None else sorted(order[:limit], key=lambda place: _rank(truths[place]))
    keys = [(table["row"][place].as_py(), table["seed"][place].as_py()) for place in shown]
    details, masks = _details(results, here, keys)
    measured = [name for name in MAPS if details[0][f"{name}_mean"] is not None] if results.has_maps else []
    stacks = {name: results.maps(name, step, keys) for name in measured}
    entries = []
    for number, (key, place) in enumerate(zip(keys, shown, strict=True)):
        maps = {name: stack[number] for name, stack in stacks.items()}
        entries.append(_entry(details[number], masks[number], maps, results.image_file(key), truths[place]))
    return Selection(
        entries=tuple(entries),
        total=len(order),
        reaching=sum((table["mask_share"][place].as_py() or 0) > 0 for place in order),
        steps=steps,
        origin=results.origin,
        model_id=details[0]["model_id"],
        mask_map=results.mask_map,
        score_name=results.score_name,
        step=step,
        timestep=details[0]["timestep"],
        sigma=details[0]["sigma"],
        threshold=details[0]["threshold"],
        calibrated=details[0]["calibrated"],
    )


def _details(
    results: Results, here: ds.Expression, keys: Sequence[Key]
) -> tuple[list[dict[str, Any]], Sequence[NDArray[np.bool_] | None]]:
    """Rows and masks of the images `keys`; None for all where no threshold made masks."""
    rows = results.rows([*_KEY, "status", *_DETAILS, *_MEANS], here & ds.field("row").isin([row for row, _ in keys]))
    place = {
        key: index for index, key in enumerate(zip(rows["row"].to_pylist(), rows["seed"].to_pylist(), strict=True))
    }
    chosen = rows.take([place[key] for key in keys])
    unmasked = chosen["mask"].null_count == len(chosen)
    return chosen.to_pylist(), [None] * len(chosen) if unmasked else results.masks(chosen)


def _entry(
    row: dict[str, Any],
    mask: NDArray[np.bool_] | None,
    maps: dict[str, NDArray[np.float16]],
    generated: bytes | None,
    truth: Truth | None,
) -> Entry:
    return Entry(
        row=row["row"],
        id=row["id"],
        prompt=row["prompt"],
        seed=row["seed"],
        score=row["score"],
        mask=mask,
        maps=maps,
        generated=None if generated is None else Image.open(io.BytesIO(generated)),
        truth=truth,
        given=row["image_source"] not in (None, SAMPLED),
    )


def _measured_step(steps: tuple[int, ...], step: int | None) -> int:
    if step is None:
        return steps[-1]
    if step not in steps:
        raise UsageError(f"step {step} was not measured: the results have {', '.join(map(str, steps))}")
    return step


def _known(truth: GroundTruth | None, row: dict[str, Any]) -> Truth | None:
    found = () if truth is None else truth.find(**row)
    return None if truth is None or not found else truth.truths[found[0]]


def _by_score(table: pa.Table) -> list[int]:
    order: list[int] = pc.sort_indices(table, [("score", "descending")]).to_pylist()
    return order


def _by_kind(truths: Sequence[Truth | None]) -> list[int]:
    kinds = []
    for kind in KINDS:
        captions: dict[tuple[object, ...], list[int]] = {}
        for place, truth in enumerate(truths):
            if truth is not None and truth.kind == kind:
                captions.setdefault((truth.row, truth.id, truth.prompt), []).append(place)
        kinds.append(_in_turns(captions.values()))
    return _in_turns(kinds)


def _in_turns(lists: Iterable[Sequence[int]]) -> list[int]:
    return [place for place in chain.from_iterable(zip_longest(*lists)) if place is not None]


def _rank(truth: Truth | None) -> int:
    return len(KINDS) if truth is None else KINDS.index(truth.kind)
