"""The contact sheet: one row for each image, what was found beside what is known, to be understood by a stranger."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np
from PIL import Image, ImageDraw

from memscan.scanner.evaluation.overlap import overlap
from memscan.scanner.evaluation.protocol import fixed_counts
from memscan.scanner.sheet.colormap import colours
from memscan.scanner.sheet.columns import Column, columns, score_explanation
from memscan.scanner.sheet.entries import Entry, Selection
from memscan.scanner.sheet.panels import OUTLINE, SIDE
from memscan.scanner.sheet.typography import GREY, INK, RULE, printable, wrapped, write

_MARGIN, _GAP, _PROMPT, _SCORE = 40, 14, 184, 112
_LEAST_WIDTH, _HEADING, _BAND = 720, 98, 46

_BANDS = {
    "global": "Copies: the whole image is memorized",
    "local": "Templates: one region is memorized, the rest varies",
    "none": "New images: nothing is memorized",
    None: "",
}


def draw_sheet(selection: Selection) -> Image.Image:
    """Draw the images of `selection`, grouped by the kind of memorization where it is known."""
    shown = list(columns(selection))
    bands = [(kind, list(group)) for kind, group in groupby(selection.entries, key=_kind)]
    width = max(2 * _MARGIN + _PROMPT + len(shown) * (SIDE + _GAP) + _SCORE, _LEAST_WIDTH)
    facts = [line for fact in _facts(selection) for line in wrapped(fact, 13, width - 2 * _MARGIN, 3)]
    top = _MARGIN + 48 + 18 * len(facts)
    rows = len(selection.entries)
    height = top + _HEADING + sum(_BAND for kind, _ in bands if kind) + rows * (SIDE + _GAP) + _MARGIN
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    write(draw, (_MARGIN, _MARGIN - 6), "Where does the model repeat its training images?", 26)
    for number, line in enumerate(facts):
        write(draw, (_MARGIN, _MARGIN + 34 + 18 * number), line, 13, GREY)
    for number, column in enumerate(shown):
        _write_heading(sheet, draw, (_left(number), top), column)
    _write_score_heading(draw, (_left(len(shown)), top), selection)
    top += _HEADING
    highest = max(entry.score for entry in selection.entries)
    for kind, entries in bands:
        if kind:
            draw.line((_MARGIN, top + 4, width - _MARGIN, top + 4), fill=RULE)
            write(draw, (_MARGIN, top + 15), _BANDS[kind], 15)
            top += _BAND
        for entry in entries:
            _write_prompt(draw, (_MARGIN, top), entry)
            for number, column in enumerate(shown):
                panel = column.panel(entry)
                if panel:
                    sheet.paste(panel, (_left(number), top))
            _write_score(draw, (_left(len(shown)), top), entry, highest)
            top += SIDE + _GAP
    return sheet


def _kind(entry: Entry) -> str | None:
    return entry.truth.kind if entry.truth else None


def _left(column: int) -> int:
    return _MARGIN + _PROMPT + column * (SIDE + _GAP)


def _facts(selection: Selection) -> Iterator[str]:
    count = len(selection.entries)
    which = f"all {count} images" if count == selection.total else f"{count} of {selection.total} images"
    where = f"step {selection.step} (timestep {selection.timestep}, sigma {selection.sigma:.3g})"
    yield f"Model: {printable(selection.model_id)}. Shown: {which}, measured at {where}."
    if selection.entries[0].maps:
        yield (
            "Heat maps are in the collapse unit, in which 1 means that the model leaves a pixel no freedom at all. "
            "Values beyond the ends of a scale have the colour of its end."
        )


def _write_heading(sheet: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], column: Column) -> None:
    left, top = at
    write(draw, (left, top), column.heading, 15)
    for number, line in enumerate(wrapped(column.explanation, 12, SIDE, 2)):
        write(draw, (left, top + 21 + 15 * number), line, 12, GREY)
    if column.scale is not None:
        ramp = np.broadcast_to(np.linspace(0.0, 1.0, SIDE), (8, SIDE))
        sheet.paste(Image.fromarray(colours(ramp, 1.0)), (left, top + 58))
        for share, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
            place = (left + round(share * SIDE), top + 69)
            write(draw, place, f"{share * column.scale:.3g}", 11, GREY, anchor)


def _write_score_heading(draw: ImageDraw.ImageDraw, at: tuple[int, int], selection: Selection) -> None:
    left, top = at
    write(draw, (left, top), "score", 15)
    for number, line in enumerate(wrapped(score_explanation(selection.score_name), 12, _SCORE, 2)):
        write(draw, (left, top + 21 + 15 * number), line, 12, GREY)


def _write_prompt(draw: ImageDraw.ImageDraw, at: tuple[int, int], entry: Entry) -> None:
    left, top = at
    lines = wrapped(printable(entry.prompt), 14, _PROMPT - _GAP, 5)
    for number, line in enumerate(lines):
        write(draw, (left, top + 18 * number), line, 14)
    write(draw, (left, top + 18 * len(lines) + 4), f"seed {entry.seed}", 12, GREY)


def _write_score(draw: ImageDraw.ImageDraw, at: tuple[int, int], entry: Entry, highest: float) -> None:
    left, top = at
    write(draw, (left, top), f"{entry.score:.3f}", 20, INK)
    filled = round(_SCORE * max(entry.score, 0.0) / highest) if highest > 0 else 0
    draw.rectangle((left, top + 28, left + _SCORE - 1, top + 33), fill=RULE)
    if filled:
        draw.rectangle((left, top + 28, left + filled - 1, top + 33), fill=OUTLINE)
    write(draw, (left, top + 42), f"mask covers {entry.mask.mean():.0%}", 12, GREY)
    if entry.truth and entry.truth.mask is not None:
        agreement = overlap(fixed_counts([entry.mask], [entry.truth.mask]), np.zeros(1, dtype=np.intp))
        write(draw, (left, top + 58), f"IoU with truth: {agreement.iou:.2f}", 12, GREY)
