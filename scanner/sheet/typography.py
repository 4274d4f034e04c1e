"""Text on a contact sheet, in the font that Pillow brings along (Aileron; it has ASCII only)."""

import unicodedata
from functools import cache

from PIL import ImageDraw, ImageFont

INK = (28, 28, 32)
GREY = (112, 112, 120)
RULE = (222, 222, 226)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font at `size` pixels."""
    loaded = ImageFont.load_default(size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return loaded


def printable(text: str) -> str:
    """`text` in ASCII: accents are dropped, anything else that the font lacks becomes a question mark."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(plain.encode("ascii", "replace").decode().split())


def wrapped(text: str, size: int, width: int, lines: int) -> list[str]:
    """`text` broken into at most `lines` lines of `width` pixels; what does not fit is replaced by "..."."""
    result: list[str] = []
    for word in text.split():
        longer = f"{result[-1]} {word}" if result else word
        if result and font(size).getlength(longer) <= width:
            result[-1] = longer
        else:
            result.append(word)
    cut = result[:lines]
    if len(result) > lines:
        cut[-1] += " ..."
    return [_shortened(line, size, width) for line in cut]


def write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    size: int,
    colour: tuple[int, int, int] = INK,
    anchor: str = "la",
) -> None:
    """Write a line of `text` whose point `anchor` (Pillow's; by default the upper left corner) is at `at`."""
    draw.text(at, text, fill=colour, font=font(size), anchor=anchor)


def _shortened(line: str, size: int, width: int) -> str:
    if font(size).getlength(line) <= width:
        return line
    while line and font(size).getlength(f"{line}...") > width:
        line = line[:-1].rstrip(" .")
    return f"{line}..."
