"""Ground truth: what of a prompt's images is memorized, for `memscan eval` and `memscan show`.

A Parquet file with one row for each prompt and the columns

    prompt, id       either or both: results are joined on id where both sides have it, else on prompt (a prompt that
                     stands under several ids is joined on id alone)
    kind             global (verbatim copies), local (a fixed region in images that vary), none (nothing memorized)
    mask             the memorized region (forms: docs/ground-truth.md); may be null for global (all ones) and none (all
                     zeros); without the column, detection alone is evaluated
    mask_height, mask_width      of masks that do not hold their size
    training_image   optional: an encoded image (PNG, JPEG), shown by `memscan show`
    split            optional: a name; `--split NAME` scores only the prompts of that part

A bad value is one line that names its row.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memscan.scanner import embedded
from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.truth_masks import condensed, is_mask, is_number, masks, read_mask
from memscan.scanner.input import values
from memscan.scanner.input.rows import Unreadable
from memscan.scanner.records import shown
from memscan.scanner.results.torn import Torn, told_apart
from memscan.scanner.terminal import brief, listed

Kind = Literal["global", "local", "none"]
KINDS: tuple[Kind, ...] = ("global", "local", "none")
TESTBED = "testbed"
"""The word that stands for the ground truth of the embedded testbed."""


class _Form(NamedTuple):
    """What a column's values can be, and how they are read."""

    wanted: str
    suits: Callable[[pa.DataType], bool]
    read: Callable[[pa.Array], list[Any]]


def _is_text(kind: pa.DataType) -> bool:
    return values.is_text(kind) or pa.types.is_null(kind)


def _is_image(kind: pa.DataType) -> bool:
    return values.is_bytes(kind) or pa.types.is_struct(kind) or pa.types.is_null(kind)


_TEXT = _Form("text", _is_text, values.texts)
_NUMBER = _Form("numbers", is_number, values.numbers)
_COLUMNS = {
    "id": _Form("texts or numbers", lambda kind: not pa.types.is_nested(kind), values.ids),
    "prompt": _TEXT,
    "kind": _TEXT,
    "mask": _Form("masks in a form that docs/ground-truth.md names", is_mask, masks),
    "mask_height": _NUMBER,
    "mask_width": _NUMBER,
    "split": _TEXT,
    "training_image": _Form("the bytes of images", _is_image, values.images),
}
"""Every column that is read."""


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """The truth about one prompt; `mask` is bool [h, w] and None where the file has no masks at all."""

    id: str | None
    prompt: str | None
    kind: Kind
    mask: NDArray[np.bool_] | None
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

    @property
    def has_masks(self) -> bool:
        """Whether more is known than which prompts are memorized."""
        return all(one.mask is not None for one in self.truths)

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
            names = file.schema_arrow.names
            _check_columns(path, names)
            table = file.read([name for name in _COLUMNS if name in names], use_threads=False)
            columns = {name: _values(path, name, table[name]) for name in table.column_names}
    except Torn as torn:
        raise UsageError(f"{path} cannot be read as Parquet ({torn})") from torn
    truths = []
    for number in range(table.num_rows):
        try:
            truths.append(_truth({name: column[number] for name, column in columns.items()}))
        except ValueError as error:
            raise UsageError(f"{path}: row {number}: {error}") from error
    try:
        return GroundTruth(truths)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def _check_columns(path: Path, columns: list[str]) -> None:
    twice = [name for name in _COLUMNS if columns.count(name) > 1]
    if twice:
        raise UsageError(f"{path} is no ground truth: it has two columns {twice[0]}")
    missing = [] if "kind" in columns else ["kind"]
    if "id" not in columns and "prompt" not in columns:
        missing.insert(0, "prompt (or id)")
    if missing:
        raise UsageError(
            f"{path} is no ground truth: it lacks {', '.join(missing)}; it has {listed(columns, len(columns))}"
        )


def _values(path: Path, name: str, column: pa.ChunkedArray) -> list[Any]:
    form, found = _COLUMNS[name], []
    for chunk in column.chunks:
        array = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
        array = array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array
        if not form.suits(array.type):
            raise UsageError(
                f"{path} is no ground truth: its column {name} is {brief(str(array.type))}, not {form.wanted}"
            )
        found += form.read(array)
    return found


def _truth(row: Mapping[str, Any]) -> Truth:
    kind = row["kind"]
    if kind not in KINDS:
        raise ValueError(f"kind is {_said(kind)}, not one of {', '.join(KINDS)}")
    return Truth(
        id=None if row.get("id") is None else str(_readable("id", row["id"])),
        prompt=_text("prompt", row.get("prompt")),
        kind=cast(Kind, kind),
        mask=condensed(_mask(kind, row)) if "mask" in row else None,
        split=_text("split", row.get("split")),
        training_image=_image(row.get("training_image")),
    )


def _mask(kind: str, row: Mapping[str, Any]) -> NDArray[np.bool_]:
    value = _readable("mask", row["mask"])
    if value is None and kind != "local":
        return np.full((1, 1), kind == "global")
    if value is None:
        raise ValueError("kind is local, but its mask is null")
    mask = read_mask(value, row.get("mask_height"), row.get("mask_width"))
    if kind == "global" and not mask.all():
        raise ValueError(f"kind is global, but its mask leaves out {1 - mask.mean():.1%} of the image")
    if kind == "none" and mask.any():
        raise ValueError(f"kind is none, but its mask covers {mask.mean():.1%} of the image")
    if kind == "local" and not mask.any():
        raise ValueError("kind is local, but its mask is empty")
    return mask


def _image(value: Any) -> bytes | None:
    """Encoded bytes, by themselves or in the `{bytes, path}` pair that Hugging Face datasets store."""
    content = _readable("training_image", value.get("bytes") if isinstance(value, dict) else value)
    if content is not None and not isinstance(content, bytes):
        raise ValueError(f"training_image is {shown(content)}, not the bytes of an image")
    return content


def _text(name: str, value: Any) -> str | None:
    text = _readable(name, value)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{name} is {shown(text)}, not a text")
    return text


def _readable(name: str, value: Any) -> Any:
    if isinstance(value, Unreadable):
        raise ValueError(f"{name} {value.why}")
    return value


def _said(value: Any) -> str:
    return shown(value.text if isinstance(value, Unreadable) and value.text else value)


def _indexed(name: str, values: Iterable[tuple[str | None, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for value, number in values:
        if value is None:
            continue
        if value in found:
            raise ValueError(f"rows {found[value]} and {number} have the same {name} {shown(value)}")
        found[value] = number
    return found
