"""Ground truth: what of a prompt's images is memorized, for `memscan eval` and `memscan show`.

A Parquet file with one row for each prompt and the columns

    prompt, id       either or both: results are joined on id where both sides have it, else on prompt (a prompt that
                     stands under several ids is joined on id alone)
    kind             global (verbatim copies), local (a fixed region in images that vary), none (nothing memorized)
    mask             the memorized region: COCO RLE counts as pycocotools writes them (column-major), binary or string;
                     may be null for global (all ones) and none (all zeros)
    mask_height, mask_width
    training_image   optional: an encoded image (PNG, JPEG), shown by `memscan show`
    split            optional: a name; `--split NAME` scores only the prompts of that part
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memscan.scanner import embedded
from memscan.scanner.errors import UsageError
from memscan.scanner.results.rle import decode
from memscan.scanner.results.torn import Torn, told_apart

Kind = Literal["global", "local", "none"]
KINDS: tuple[Kind, ...] = ("global", "local", "none")
TESTBED = "testbed"
"""The word that stands for the ground truth of the embedded testbed."""

_REQUIRED = ("kind", "mask", "mask_height", "mask_width")
_OPTIONAL = ("id", "prompt", "split", "training_image")


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """The truth about one prompt; `mask` is bool [mask_height, mask_width]."""

    id: str | None
    prompt: str | None
    kind: Kind
    mask: NDArray[np.bool_]
    split: str | None
    training_image: bytes | None


class GroundTruth:
    """The truths of a file, found by id or prompt."""

    def __init__(self, truths: Sequence[Truth]) -> None:
        """Index `truths`; raises ValueError where an id is there twice, or a prompt twice without ids."""
        self.truths = tuple(truths)
        self._by_id = _indexed("id", [(one.id, number) for number, one in enumerate(truths)])
        ids = Counter(one.prompt for one in truths if one.id is not None)
        prompts = [(one.prompt, number) for number, one in enumerate(truths) if one.id is None or ids[one.prompt] == 1]
        self._by_prompt = _indexed("prompt", prompts)

    def find(self, id: str | None, prompt: str | None) -> int | None:
        """Index in `truths` of what is known of an image with this id and prompt; None if nothing is."""
        if id is not None and id in self._by_id:
            return self._by_id[id]
        return None if prompt is None else self._by_prompt.get(prompt)


def read_ground_truth(source: str) -> GroundTruth:
    """Read the ground truth in the Parquet file `source`, or that of the embedded model for the word `testbed`.

    Raises:
        UsageError: no such file, not Parquet, columns missing, or a row that contradicts itself (it is named).
    """
    path = embedded.GROUND_TRUTH if source == TESTBED else Path(source)
    if not path.is_file():
        raise UsageError(f"no ground truth at {path}: give a Parquet file, or the word {TESTBED}")
    try:
        with path.open("rb") as stream, told_apart(), pq.ParquetFile(stream, page_checksum_verification=True) as file:
            columns = file.schema_arrow.names
            _check_columns(path, columns)
            table = file.read([name for name in _REQUIRED + _OPTIONAL if name in columns])
    except Torn as torn:
        raise UsageError(f"{path} cannot be read as Parquet ({torn})") from torn
    truths = []
    for number, row in enumerate(table.to_pylist()):
        try:
            truths.append(_truth(row))
        except ValueError as error:
            raise UsageError(f"{path}: row {number}: {error}") from error
    try:
        return GroundTruth(truths)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def _check_columns(path: Path, columns: list[str]) -> None:
    missing = [name for name in _REQUIRED if name not in columns]
    if "id" not in columns and "prompt" not in columns:
        missing.insert(0, "prompt (or id)")
    if missing:
        raise UsageError(f"{path} is no ground truth: it lacks {', '.join(missing)}; it has {', '.join(columns)}")


def _truth(row: dict[str, Any]) -> Truth:
    kind = row["kind"]
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, not one of {', '.join(KINDS)}")
    mask = _mask(kind, row["mask"], row["mask_height"], row["mask_width"])
    if kind == "global" and not mask.all():
        raise ValueError(f"kind is global, but its mask leaves out {1 - mask.mean():.1%} of the image")
    if kind == "none" and mask.any():
        raise ValueError(f"kind is none, but its mask covers {mask.mean():.1%} of the image")
    if kind == "local" and not mask.any():
        raise ValueError("kind is local, but its mask is empty")
    id = row.get("id")
    return Truth(
        id=None if id is None else str(id),
        prompt=row.get("prompt"),
        kind=cast(Kind, kind),
        mask=mask,
        split=row.get("split"),
        training_image=row.get("training_image"),
    )


def _mask(kind: str, counts: bytes | str | None, height: int | None, width: int | None) -> NDArray[np.bool_]:
    if counts is None and kind != "local":
        return np.full((1, 1), kind == "global")
    if counts is None or not height or not width:
        raise ValueError("mask, mask_height or mask_width is null")
    return decode(counts, height, width)


def _indexed(name: str, values: Iterable[tuple[str | None, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for value, number in values:
        if value is None:
            continue
        if value in found:
            raise ValueError(f"rows {found[value]} and {number} have the same {name} {value!r}")
        found[value] = number
    return found
