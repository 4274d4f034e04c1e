"""Webster's ground truth of Stable Diffusion and its kin, with what must be known to read it.

overfit_type   MV the training picture of the caption, RV one that was retrieved by likeness: the whole image
               TV a template: the masks lie in the files of `templates/metadata.parquet`
               N no match, *or a download that failed*: not known, unless the downloads are there to be looked at
gen_seeds      seeds that gave the copy, [3, 7]; or pairs of a seed and a template's index, [[3, 12], [3, 14]], with
               -1 where there is no template. Of RV the second number is that of a retrieved picture, never of a
               template. Empty: whatever seed
template_indices   [[12, 14]]: the templates of a row whose seeds are not paired with them
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.formats.fields import PROMPT, listed, named, prompt_of, rows, said, whole
from memscan.scanner.evaluation.formats.mask_files import is_black, picture_file
from memscan.scanner.evaluation.formats.merge import ALL, NOTHING, merged, union
from memscan.scanner.evaluation.formats.reading import Reading
from memscan.scanner.evaluation.formats.table import Table
from memscan.scanner.evaluation.formats.templates import Templates, find_templates
from memscan.scanner.evaluation.truth import Kind, Truth

LABELS = ("overfit_type", "category", "label")
_SEEDS, _TEMPLATES, _AVAILABLE = ("gen_seeds",), ("template_indices",), ("image_available",)
_KINDS: dict[str, Kind] = {
    "MV": "global",
    "RV": "global",
    "MVRV": "global",
    "TV": "local",
    "N": "none",
    "matching-verbatim": "global",
    "retrieved-verbatim": "global",
    "template-verbatim": "local",
    "memorized": "memorized",
    "normal": "none",
    "none": "none",
}


class _Copy(NamedTuple):
    """A seed that gave a copy (None: any), and the indices of what was copied."""

    seed: int | None
    of: tuple[int, ...]


class _Source(NamedTuple):
    reading: Reading
    templates: Templates | None
    retrieved: Templates | None


def read_webster(table: Table, reading: Reading) -> tuple[list[Truth], list[str]]:
    """The truths of a table, and what is to be said of it.

    Raises:
        UsageError: a column is missing, or a row cannot be right.
    """
    found = {
        role: named(table.names, wanted)
        for role, wanted in (
            ("prompt", PROMPT),
            ("label", LABELS),
            ("seeds", _SEEDS),
            ("templates", _TEMPLATES),
            ("available", _AVAILABLE),
        )
    }
    missing = [role for role in ("prompt", "label") if found[role] is None]
    if missing:
        raise UsageError(f"{table.path} is no ground truth of Webster's: it has no column for {' and '.join(missing)}")
    columns = table.columns([name for name in found.values() if name is not None])
    values = {role: columns[name] for role, name in found.items() if name is not None}
    source = _Source(
        reading,
        find_templates(table.path, reading.templates, "templates"),
        find_templates(table.path, reading.templates, "retrieved"),
    )
    truths: list[Truth] = []
    unknown = tested = count = 0
    for number, row in enumerate(rows(values)):
        try:
            kind = _kind(row["label"])
            downloaded = _downloaded(reading.downloads, number)
            is_known = kind != "none" or _was_tested(row, reading, downloaded)
            truths += _of_row(row, kind, source, downloaded) if is_known else ()
        except ValueError as error:
            raise UsageError(f"{table.path}: row {number}: {error}") from error
        unknown += not is_known
        tested += is_known and kind == "none"
        count += 1
    remarks = [f"{count} prompts, {count - unknown - tested} of them memorized, {tested} not, {unknown} unknown"]
    if unknown:
        remarks.append(
            f"{unknown} rows are labelled as not memorized without a training picture that was compared: a failed"
            " download has this label too, so they are unknown and no negatives"
            + (
                ""
                if reading.downloads
                else " (--images FOLDER, the downloads by row, shows which of them were compared)"
            )
        )
    if any(one.kind == "local" for one in truths):
        remarks.append(_of_templates(source, reading))
    return merged(truths, each=reading.pairs == "each"), remarks


def _kind(label: Any) -> Kind:
    if not isinstance(label, str) or label not in _KINDS:
        raise ValueError(f"overfit_type is {said(label)}, not one of {', '.join(_KINDS)}")
    return _KINDS[label]


def _downloaded(folder: Path | None, row: int) -> bytes | None:
    if folder is None:
        return None
    name = f"dl_{row:03d}.jpg"
    if not (folder / name).is_file():
        return None
    picture = picture_file(name, folder)
    return None if is_black(picture) else picture


def _was_tested(row: dict[str, Any], reading: Reading, downloaded: bytes | None) -> bool:
    return downloaded is not None if reading.downloads is not None else row.get("available") in (True, "True", "true")


def _of_row(row: dict[str, Any], kind: Kind, source: _Source, downloaded: bytes | None) -> Iterator[Truth]:
    prompt = prompt_of(row["prompt"])
    if kind == "none":
        yield Truth(None, prompt, "none", NOTHING)
        return
    if kind == "memorized":
        yield Truth(None, prompt, "memorized", None)
        return
    is_retrieved = row["label"] in ("RV", "retrieved-verbatim")
    for copy in _copies(row, is_retrieved or kind == "global", source.reading):
        if kind == "global":
            picture = _retrieved(source, copy.of) if is_retrieved else downloaded
            yield Truth(None, prompt, "global", ALL, training_image=picture, seed=copy.seed, retrieved=is_retrieved)
            continue
        if source.templates is None or not copy.of:
            yield Truth(None, prompt, "local", None, seed=copy.seed)
        elif source.reading.pairs == "each":
            for index in copy.of:
                mask, picture = source.templates.mask(index), source.templates.picture(index)
                yield Truth(None, prompt, "local", mask, training_image=picture, seed=copy.seed)
        else:
            mask = union(source.templates.mask(index) for index in copy.of)
            picture = source.templates.picture(copy.of[0]) if len(copy.of) == 1 else None
            yield Truth(None, prompt, "local", mask, training_image=picture, seed=copy.seed)


def _copies(row: dict[str, Any], is_whole: bool, reading: Reading) -> list[_Copy]:
    """Seeds in order, each once, with all that it copies."""
    unpaired = [index for one in listed("template_indices", row.get("templates")) for index in _indices(one)]
    found: dict[int | None, list[int]] = {}
    for one in listed("gen_seeds", row.get("seeds")):
        pair = list(one) if isinstance(one, list | tuple) else [one]
        if len(pair) not in (1, 2):
            raise ValueError(f"gen_seeds holds {said(one)}, neither a seed nor a pair of it and a template")
        seed = whole("a seed of gen_seeds", pair[0])
        index = whole("an index of gen_seeds", pair[1], least=-1) if len(pair) == 2 else None
        indices = ([] if is_whole else unpaired) if index is None else [index] if index >= 0 else []
        found.setdefault(None if reading.seeds == "any" else seed, []).extend(indices)
    if not found:
        found[None] = [] if is_whole else unpaired
    return [_Copy(seed, tuple(dict.fromkeys(indices))) for seed, indices in found.items()]


def _indices(value: Any) -> list[int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return [whole("an index of template_indices", one) for one in values]


def _retrieved(source: _Source, indices: tuple[int, ...]) -> bytes | None:
    return source.retrieved.picture(indices[0]) if source.retrieved is not None and indices else None


def _of_templates(source: _Source, reading: Reading) -> str:
    if source.templates is None:
        return (
            "no templates/metadata.parquet beside it or above: the regions of templates are unknown, and only detection"
            " is evaluated of them (--templates FOLDER names the folder that holds it)"
        )
    if reading.pairs == "each":
        return "each pair of an image and a template is scored by itself (--pairs each)"
    return "the templates of one image are one mask, their union; --pairs each scores each by itself"
