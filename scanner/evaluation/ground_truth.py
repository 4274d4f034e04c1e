"""Ground truth: what of a prompt's images is memorized, for `memscan eval`, `memscan show` and `memscan verify`.

Memscan's own form is a table (Parquet, CSV, JSON lines) with one row for each prompt and the columns

    prompt, id       either or both: results are joined on id where both sides have it, else on prompt (a prompt that
                     stands under several ids is joined on id alone)
    kind             global (verbatim copies), local (a fixed region in images that vary), memorized (one of them, where
                     is not known), none (nothing memorized)
    seed             optional: the row is about the image of this seed alone
    mask             the memorized region (forms: docs/ground-truth.md); may be null for global (all ones) and none (all
                     zeros); without the column, detection alone is evaluated
    mask_height, mask_width      of masks that do not hold their size
    mask_file        in place of mask: the path of a picture, from the folder of the file; bright is memorized
    training_image   optional: an encoded image (PNG, JPEG), shown by `memscan show`
    split            optional: a name; `--split NAME` scores only the prompts of that part

The forms of others are in `formats/`. A bad value is one line that names its row.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memscan.scanner import embedded
from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.formats import fields
from memscan.scanner.evaluation.formats.coco import read_coco
from memscan.scanner.evaluation.formats.lists import read_negatives, read_nemo, read_prompts
from memscan.scanner.evaluation.formats.mask_files import mask_file
from memscan.scanner.evaluation.formats.merge import NOTHING
from memscan.scanner.evaluation.formats.reading import FORMATS, Format, Reading
from memscan.scanner.evaluation.formats.table import Table, is_json, is_parquet, open_table, regular
from memscan.scanner.evaluation.formats.webster import read_webster
from memscan.scanner.evaluation.truth import KINDS, GroundTruth, Kind, Truth
from memscan.scanner.evaluation.truth_masks import condensed, is_mask, is_number, masks, read_mask
from memscan.scanner.input import values
from memscan.scanner.input.rows import Unreadable
from memscan.scanner.records import shown
from memscan.scanner.results.torn import Torn, told_apart
from memscan.scanner.terminal import brief, listed

TESTBED = "testbed"
"""The word that stands for the ground truth of the embedded testbed."""

_AS_IT_IS = Reading()


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
    "mask_file": _TEXT,
    "seed": _NUMBER,
    "split": _TEXT,
    "training_image": _Form("the bytes of images", _is_image, values.images),
}
"""Every column that is read."""


def read_ground_truth(source: str, reading: Reading = _AS_IT_IS) -> GroundTruth:
    """Read the ground truth in the file `source`, or that of the embedded model for the word `testbed`.

    Raises:
        UsageError: no such file, columns missing, or a row that contradicts itself (it is named).
    """
    path = embedded.GROUND_TRUTH if source == TESTBED else Path(source)
    regular(path, f"a file, or the word {TESTBED}")
    format = reading.format or _format_of(path)
    truths, said = _read(path, format, reading)
    told = "" if reading.format else ", told by its columns"
    remarks = [f"ground truth of the format {format} ({FORMATS[format]}){told}: {one}" for one in said[:1]] + said[1:]
    if reading.negatives is not None:
        truths = [*truths, *_negatives(reading.negatives, truths)]
    try:
        return GroundTruth(truths, remarks, several=reading.pairs == "each")
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def _format_of(path: Path) -> Format:
    if is_json(path):
        return "coco"
    if path.suffix.lower() == ".txt":
        return "prompts"
    names = {name.strip().lower() for name in open_table(path).names}
    has_prompt = fields.named(list(names), fields.PROMPT) is not None
    if "kind" in names:
        return "memscan"
    if "overfit_type" in names:
        return "webster"
    if has_prompt and "type" in names:
        return "nemo"
    # Unlabelled tables are taken for lists of memorized prompts only where they are those that are known as such.
    if has_prompt and ("urls" in names or ("url" in names and path.suffix.lower() in (".jsonl", ".ndjson"))):
        return "prompts"
    return "memscan"


def _read(path: Path, format: Format, reading: Reading) -> tuple[list[Truth], list[str]]:
    if format == "coco":
        return read_coco(path)
    if format == "memscan":
        return (_read_parquet(path) if is_parquet(path) else _read_rows(open_table(path))), []
    table = open_table(path)
    if format == "webster":
        return read_webster(table, reading)
    return read_nemo(table) if format == "nemo" else read_prompts(table, is_sure=reading.format is not None)


def _negatives(path: Path, truths: Sequence[Truth]) -> list[Truth]:
    prompts = read_negatives(open_table(regular(path, "a file of prompts as --negatives")))
    known = {one.prompt for one in truths if one.kind != "none"}
    both = [one for one in prompts if one in known]
    if both:
        raise UsageError(
            f"{path}: {len(both)} of its prompts are memorized by the ground truth: {listed(both, len(both), 2)}"
        )
    own = {one.prompt for one in truths}
    mask = NOTHING if any(one.mask is not None for one in truths) else None
    return [Truth(None, prompt, "none", mask) for prompt in prompts if prompt not in own]


def _read_rows(table: Table) -> list[Truth]:
    """Memscan's own form, of a table of text or of JSON's values."""
    _check_columns(table.path, list(table.names))
    truths = []
    for number, row in enumerate(fields.rows(table.columns(list(_COLUMNS)))):
        try:
            sizes = {
                name: fields.whole(name, row[name])
                for name in ("mask_height", "mask_width")
                if isinstance(row.get(name), str)
            }
            if row.get("training_image") is not None:
                raise ValueError("training_image is no column of text: write Parquet")
            truths.append(_truth(row | sizes, table.path.parent))
        except ValueError as error:
            raise UsageError(f"{table.path}: row {number}: {error}") from error
    return truths


def _read_parquet(path: Path) -> list[Truth]:
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
            truths.append(_truth({name: column[number] for name, column in columns.items()}, path.parent))
        except ValueError as error:
            raise UsageError(f"{path}: row {number}: {error}") from error
    return truths


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


def _truth(row: Mapping[str, Any], folder: Path) -> Truth:
    kind = row["kind"]
    if kind not in KINDS:
        raise ValueError(f"kind is {_said(kind)}, not one of {', '.join(KINDS)}")
    mask = _mask(kind, row, folder) if "mask" in row or "mask_file" in row else None
    return Truth(
        id=None if row.get("id") is None else str(_readable("id", row["id"])),
        prompt=_text("prompt", row.get("prompt")),
        kind=cast(Kind, kind),
        mask=None if mask is None else condensed(mask),
        split=_text("split", row.get("split")),
        training_image=_image(row.get("training_image")),
        seed=_seed(row.get("seed")),
    )


def _seed(value: Any) -> int | None:
    return None if value is None or value != value else fields.whole("seed", value)  # pandas: NaN for null


def _mask(kind: str, row: Mapping[str, Any], folder: Path) -> NDArray[np.bool_] | None:
    value, file = _readable("mask", row.get("mask")), _text("mask_file", row.get("mask_file"))
    if value is not None and file is not None:
        raise ValueError("both mask and mask_file are given")
    if value is None and file is None:
        if kind == "local":
            raise ValueError("kind is local, but its mask is null")
        return None if kind == "memorized" else np.full((1, 1), kind == "global")
    mask = read_mask(value, row.get("mask_height"), row.get("mask_width")) if file is None else mask_file(file, folder)
    if kind == "memorized":
        raise ValueError("kind is memorized, which says that the region is not known, but it has a mask")
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
