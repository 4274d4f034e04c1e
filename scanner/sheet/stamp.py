"""Words across the sheet, that its crops keep, for results that must not be taken for what they are not."""

from itertools import cycle

from PIL import Image, ImageDraw

from memscan.scanner.embedded import TOY
from memscan.scanner.sheet.entries import Selection
from memscan.scanner.sheet.fonts import font
from memscan.scanner.sheet.typography import length, write

UNCALIBRATED = "UNCALIBRATED"

_SIZE, _ANGLE, _STROKE = 64, 24, 2
_COLOUR, _STRENGTH = (128, 128, 136), 110
_ACROSS, _DOWN = 260, 90  # between two words
_BADGE, _PADDING = (176, 0, 40), 8


def stamps(selection: Selection) -> tuple[str, ...]:
    """What must be written across the sheet of a selection."""
    needed = {TOY: TOY in selection.model_id, UNCALIBRATED: not selection.calibrated}
    return tuple(word for word, needs in needed.items() if needs)


def badges(sheet: Image.Image, right: int, top: int, words: tuple[str, ...]) -> None:
    """Write `words` in boxes that end at `right`."""
    draw = ImageDraw.Draw(sheet)
    for word in reversed(words):
        left = right - round(length(word, 20)) - 2 * _PADDING
        draw.rectangle((left, top, right, top + 24 + _PADDING), fill=_BADGE)
        write(draw, (left + _PADDING, top + _PADDING // 2), word, 20, (255, 255, 255))
        right = left - _PADDING


def stamp(sheet: Image.Image, top: int, words: tuple[str, ...]) -> None:
    """Write `words` in turn across `sheet` below `top`, as outlines through which everything stays to be seen."""
    if not words:
        return
    masks = cycle([_mask(word) for word in words])
    odd = False
    while top < sheet.height:
        mask = next(masks)
        left = -mask.width // 2 if odd else 0
        while left < sheet.width:
            sheet.paste(_COLOUR, (left, top), mask)
            left += mask.width + _ACROSS
        top, odd = top + mask.height + _DOWN, not odd


def _mask(word: str) -> Image.Image:
    left, top, right, bottom = (round(edge) for edge in font(_SIZE).getbbox(word, stroke_width=_STROKE))
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).text(
        (-left, -top), word, fill=0, font=font(_SIZE), stroke_width=_STROKE, stroke_fill=_STRENGTH
    )
    return mask.rotate(_ANGLE, Image.Resampling.BICUBIC, expand=True)
