"""The contact sheet: one row for each image, what was found beside what is known, to be understood by a stranger."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np
from PIL import Image, ImageDraw

from memscan.scanner.evaluation.overlap import overlap
from memscan.scanner.evaluation.protocol import fixed_counts
from memscan.scanner.results.schema import SCORE_COLUMNS
from memscan.scanner.sheet.colormap import colours
from memscan.scanner.sheet.columns import Column, columns, score_explanation
from memscan.scanner.sheet.entries import Entry, Selection
from memscan.scanner.sheet.facts import TITLE, facts
from memscan.scanner.sheet.panels import OUTLINE, SIDE
from memscan.scanner.sheet.scale import number, percentage, share, ticks
from memscan.scanner.sheet.stamp import badges, stamp, stamps
from memscan.scanner.sheet.typography import GREY, INK, RULE, wrapped, write

_MARGIN, _GAP, _PROMPT, _SCORE = 40, 14, 184, 160
_LEAST_WIDTH, _HEADING, _BAND = 880, 98, 46

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
    said = [line for fact in facts(selection) for line in wrapped(fact, 13, width - 2 * _MARGIN, 4)]
    top = _MARGIN + 48 + 18 * len(said)
    rows = len(selection.entries)
    height = top + _HEADING + sum(_BAND for kind, _ in bands if kind) + rows * (SIDE + _GAP) + _MARGIN
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    words = stamps(selection)
    write(draw, (_MARGIN, _MARGIN - 6), TITLE, 26)
    badges(sheet, width - _MARGIN, _MARGIN - 6, words)
    for place, line in enumerate(said):
        write(draw, (_MARGIN, _MARGIN + 34 + 18 * place), line, 13, GREY)
    for place, column in enumerate(shown):
        _write_heading(sheet, draw, (_left(place), top), column)
    _write_score_heading(draw, (_left(len(shown)), top), selection)
    top += _HEADING
    pictures = top
    for kind, entries in bands:
        if kind:
            draw.line((_MARGIN, top + 4, width - _MARGIN, top + 4), fill=RULE)
            write(draw, (_MARGIN, top + 15), _BANDS[kind], 15)
            top += _BAND
        for entry in entries:
            _write_prompt(draw, (_MARGIN, top), entry)
            for place, column in enumerate(shown):
                panel = column.panel(entry)
                if panel:
                    sheet.paste(panel, (_left(place), top))
            _write_score(draw, (_left(len(shown)), top), entry, selection)
            top += SIDE + _GAP
    stamp(sheet, pictures, words)
    return sheet


def _kind(entry: Entry) -> str | None:
    return entry.truth.kind if entry.truth else None


def _left(column: int) -> int:
    return _MARGIN + _PROMPT + column * (SIDE + _GAP)


def _write_heading(sheet: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], column: Column) -> None:
    left, top = at
    write(draw, (left, top), column.heading, 15)
    for place, line in enumerate(wrapped(column.explanation, 12, SIDE, 2)):
        write(draw, (left, top + 21 + 15 * place), line, 12, GREY)
    if column.metric is not None:
        ramp = np.broadcast_to(np.linspace(0, 1, SIDE), (8, SIDE))
        sheet.paste(Image.fromarray(colours(ramp)), (left, top + 58))
        for place, (value, anchor) in enumerate(zip(ticks(column.metric), "lmr", strict=True)):
            write(draw, (left + place * SIDE // 2, top + 69), f"{value:.3g}", 11, GREY, anchor)
        if column.threshold is not None:
            _mark(draw, (left, top + 54), SIDE, float(share(column.threshold, column.metric)), 16)


def _write_score_heading(draw: ImageDraw.ImageDraw, at: tuple[int, int], selection: Selection) -> None:
    left, top = at
    write(draw, (left, top), "score", 15)
    for place, line in enumerate(wrapped(score_explanation(selection.score_name), 12, _SCORE, 2)):
        write(draw, (left, top + 21 + 15 * place), line, 12, GREY)


def _write_prompt(draw: ImageDraw.ImageDraw, at: tuple[int, int], entry: Entry) -> None:
    left, top = at
    lines = wrapped(entry.prompt, 14, _PROMPT - _GAP, 5)
    for place, line in enumerate(lines):
        write(draw, (left, top + 18 * place), line, 14)
    top += 18 * len(lines) + 4
    known = [f"row {entry.row}, seed {entry.seed}", *([] if entry.id is None else [f"id {entry.id}"])]
    for place, line in enumerate(known):
        (fitting,) = wrapped(line, 12, _PROMPT - _GAP, 1)
        write(draw, (left, top + 16 * place), fitting, 12, GREY)


def _write_score(draw: ImageDraw.ImageDraw, at: tuple[int, int], entry: Entry, selection: Selection) -> None:
    left, top = at
    write(draw, (left, top), number(entry.score), 20, INK)
    metric = SCORE_COLUMNS[selection.score_name]
    if metric.kind == "map":
        draw.rectangle((left, top + 28, left + _SCORE - 1, top + 33), fill=RULE)
        filled = round(float(share(entry.score, metric.name)) * _SCORE)
        if filled:
            draw.rectangle((left, top + 28, left + filled - 1, top + 33), fill=OUTLINE)
        if selection.threshold is not None and metric.name == selection.mask_map:
            _mark(draw, (left, top + 25), _SCORE, float(share(selection.threshold, metric.name)), 12)
    for place, line in enumerate(_findings(entry)):
        write(draw, (left, top + 42 + 16 * place), line, 12, GREY)


def _findings(entry: Entry) -> Iterator[str]:
    if entry.mask is None:
        yield "no mask: no threshold"
        return
    covered = float(entry.mask.mean())
    yield f"mask covers {percentage(covered)}" if covered else "nothing above the threshold"
    if entry.truth and entry.truth.mask is not None:
        agreement = overlap(fixed_counts([entry.mask], [entry.truth.mask]), np.zeros(1, dtype=np.intp))
        yield f"IoU with truth: {agreement.iou:.2f}"


def _mark(draw: ImageDraw.ImageDraw, at: tuple[int, int], width: int, place: float, height: int) -> None:
    """A place on a scale that is `width` wide, as a line with a white border."""
    left, top = at
    at_pixel = left + round(place * (width - 1))
    draw.rectangle((at_pixel - 1, top, at_pixel + 1, top + height - 1), fill="white")
    draw.line((at_pixel, top, at_pixel, top + height - 1), fill=INK)
