"""The copy test that needs no network: generated images against training pictures that are given, by Webster's rule.

An image is compared as a whole, and within a mask: that of the ground truth where there is one, else the one that the
scan delivered. Of several training pictures the nearest counts.

    copy           the whole picture is nearer than the threshold
    partial copy   what the mask covers is, the whole is not
    no copy        neither
    not compared   there is no image, or no training picture: `reason` says which
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memscan.scanner.errors import RowError, UsageError
from memscan.scanner.evaluation.copies import COPY_RMSE, RETRIEVED_RMSE, SIZE, for_comparison, masked_rmse
from memscan.scanner.evaluation.resize import nearest
from memscan.scanner.evaluation.training_pictures import TrainingPictures
from memscan.scanner.evaluation.truth import GroundTruth, Truth
from memscan.scanner.pictures.decode import decode_picture
from memscan.scanner.results.reader import Results
from memscan.scanner.results.tally import SCREENED

Verdict = Literal["copy", "partial copy", "no copy", "not compared"]
VERDICTS: tuple[Verdict, ...] = ("copy", "partial copy", "no copy", "not compared")

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("seed", pa.int64()),
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("verdict", pa.string()),
        ("rmse", pa.float64()),  # of the whole picture
        ("masked_rmse", pa.float64()),  # within the mask
        ("threshold", pa.float64()),  # below, it is a copy
        ("mask_share", pa.float64()),  # of the pixels; a small mask is easily passed
        ("mask_source", pa.string()),  # "ground truth" or "result"; null without a mask
        ("training_picture", pa.string()),  # file name, or "ground truth"
        ("reason", pa.string()),  # of what was not compared
    ]
)
"""Columns of the verdicts, one row for each image."""


@dataclasses.dataclass(frozen=True)
class Verification:
    """The verdicts, a table of `SCHEMA`; `unreadable` counts training pictures that are there and cannot be read."""

    table: pa.Table
    unreadable: int

    @property
    def summary(self) -> str:
        """All of it in one line."""
        verdicts = self.table["verdict"].to_pylist()
        count = {verdict: verdicts.count(verdict) for verdict in VERDICTS}
        compared = len(verdicts) - count["not compared"]
        return (
            f"{count['copy'] + count['partial copy']} of {compared} images copy a training picture:"
            f" {count['copy']} as a whole, {count['partial copy']} within the mask;"
            f" {count['not compared']} were not compared"
        )


class _Training(NamedTuple):
    """A training picture and what is known of it."""

    name: str
    encoded: bytes
    mask: Mask | None
    threshold: float


class _Compared(NamedTuple):
    training: _Training
    rmse: float
    masked: float | None
    share: float | None
    source: str | None

    @property
    def nearest(self) -> float:
        """How near it comes to a copy, in the unit of its threshold."""
        return min(self.rmse, self.rmse if self.masked is None else self.masked) / self.training.threshold


def verify(results: Results, pictures: TrainingPictures | None, truth: GroundTruth | None) -> Verification:
    """Compare each image of the results, at its last measured step, with the training pictures that are given for it.

    Raises:
        UsageError: the results hold no images.
    """
    if pictures is None and not (truth and any(one.training_image for one in truth.truths)):
        raise UsageError("there are no training pictures: give --images FOLDER, or a ground truth that holds them")
    table = results.rows(
        ["row", "seed", "step_index", "id", "prompt", "status", "error", "mask", "mask_height", "mask_width"]
    )
    last = {
        key: place for place, key in enumerate(zip(*(table[name].to_pylist() for name in ("row", "seed")), strict=True))
    }
    rows = table.take(list(last.values()))
    found, unreadable, kept = [], 0, False
    for place, row in enumerate(rows.drop_columns(["mask", "mask_height", "mask_width"]).to_pylist()):
        base = {name: row[name] for name in ("row", "seed", "id", "prompt")}
        if row["status"] == SCREENED:
            found.append(base | _not_compared("it was screened, and not scanned"))
            continue
        if row["status"] != "ok":
            found.append(base | _not_compared(f"the scan failed: {row['error']}"))
            continue
        image = results.image_file((row["row"], row["seed"]))
        kept = kept or image is not None
        if image is None:
            found.append(base | _not_compared("its image was not kept"))
            continue
        own = rows.slice(place, 1)
        mask = None if own["mask"].null_count else results.masks(own)[0]
        try:
            candidates = _candidates(row, pictures, truth)
            generated = for_comparison(decode_picture(image))
            compared = [_compared(generated, one, mask) for one in candidates]
        except (ValueError, RowError) as error:
            unreadable += 1
            found.append(base | _not_compared(str(error)))
            continue
        found.append(base | (_verdict(compared) if compared else _not_compared("there is no training picture for it")))
    if not kept and not results.is_empty:
        raise UsageError(f"{results.path} holds no images: scan again with `memscan run --images`")
    return Verification(pa.Table.from_pylist(found, SCHEMA), unreadable)


def _candidates(
    row: Mapping[str, Any], pictures: TrainingPictures | None, truth: GroundTruth | None
) -> list[_Training]:
    id, prompt, seed, number = row["id"], row["prompt"], row["seed"], row["row"]
    known = [] if truth is None else [truth.truths[index] for index in truth.find(id, prompt, seed, number)]
    held = [
        _Training("ground truth", one.training_image, one.mask, _threshold(one))
        for one in known
        if one.training_image is not None
    ]
    if held or pictures is None:
        return held
    # The numbers of a folder beside a ground truth are those of its rows, and not of the manifest's.
    name = pictures.find(id, prompt, number if truth is None else None)
    picture = None if name is None else pictures.read(name)
    if name is None or picture is None:
        return []
    masks: list[Mask | None] = [one.mask for one in known if one.mask is not None and one.mask.any()]
    threshold = max(map(_threshold, known), default=COPY_RMSE)
    return [_Training(name, picture, mask, threshold) for mask in masks or [None]]


def _threshold(truth: Truth) -> float:
    return RETRIEVED_RMSE if truth.retrieved else COPY_RMSE


def _compared(generated: Picture, training: _Training, delivered: Mask | None) -> _Compared:
    picture = for_comparison(decode_picture(training.encoded))
    rmse = float(masked_rmse(generated, picture))
    for mask, source in ((training.mask, "ground truth"), (delivered, "result")):
        if mask is not None and mask.any():
            fitted = nearest(mask, SIZE)
            return _Compared(
                training, rmse, float(masked_rmse(generated, picture, fitted)), float(fitted.mean()), source
            )
    return _Compared(training, rmse, None, None, None)


def _verdict(compared: Sequence[_Compared]) -> dict[str, object]:
    best = min(compared, key=lambda one: one.nearest)
    limit = best.training.threshold
    verdict: Verdict = "no copy"
    if best.rmse < limit:
        verdict = "copy"
    elif best.masked is not None and best.masked < limit:
        verdict = "partial copy"
    return {
        "verdict": verdict,
        "rmse": best.rmse,
        "masked_rmse": best.masked,
        "threshold": limit,
        "mask_share": best.share,
        "mask_source": best.source,
        "training_picture": best.training.name,
    }


def _not_compared(reason: str) -> dict[str, object]:
    return {"verdict": "not compared", "reason": reason}
