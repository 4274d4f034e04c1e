"""Text on a contact sheet, of any script and any length: what no font has is written as its code point."""

import re
import unicodedata

from PIL import ImageDraw

from memscan.scanner.sheet.fonts import OWN, face_of, font, joins, runs

INK = (28, 28, 32)
GREY = (112, 112, 120)
RULE = (222, 222, 226)

_UNIT = re.compile(r"\\u\{[0-9a-f]+\}|.", re.DOTALL)
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_JOINERS = "\u200c\u200d"
_VARIATIONS = "\ufe0e\ufe0f"  # "as text" and "as emoji", which have no shape of their own


def printable(text: str) -> str:
    r"""`text` in one line, as it can be drawn; `\u{1f98a}` is a character that no font here has, or none shows."""
    composed = unicodedata.normalize("NFC", " ".join(text.split()))
    shown: list[str] = []
    for character in composed:
        if character not in _VARIATIONS:
            shown.append(_shown(character, shown[-1] if shown else ""))
    return "".join(shown)


def length(text: str, size: int) -> float:
    """Width of a line of `text` in pixels."""
    return sum(font(size, face).getlength(part) for face, part in runs(text))


def wrapped(text: str, size: int, width: int, lines: int) -> list[str]:
    """`text` made printable and broken into at most `lines` lines of `width` pixels; "..." stands for what is left out.

    A word that is wider than a line is broken. Of a text of any length no more is looked at than could fit.
    """
    most = lines * width  # a character is a pixel wide at least
    result: list[str] = []
    for word in printable(text[:most]).split(" "):
        longer = f"{result[-1]} {word}" if result else word
        if result and length(longer, size) <= width:
            result[-1] = longer
        elif length(word, size) > width:
            result[-1:] = _broken(longer, size, width)
        else:
            result.append(word)
    cut = result[:lines]
    if len(result) > lines or len(text) > most:
        cut[-1] = _shortened(f"{cut[-1]} ...", size, width)
    return cut


def write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    size: int,
    colour: tuple[int, int, int] = INK,
    anchor: str = "l",
) -> None:
    """Write a line of `text` whose top is at `at`, and its left end, middle or right end by `anchor`: l, m or r."""
    left, top = at
    left -= round({"l": 0.0, "m": 0.5, "r": 1.0}[anchor] * length(text, size))
    baseline = top + font(size).getmetrics()[0]
    place = float(left)
    for face, part in runs(text):
        draw.text((place, baseline), part, fill=colour, font=font(size, face), anchor="ls")
        place += font(size, face).getlength(part)


def _shown(character: str, before: str) -> str:
    if character in _JOINERS:
        seen = len(before) == 1 and face_of(before) != OWN  # a joiner joins what is drawn; Pillow's own font has none
    else:
        seen = unicodedata.category(character) not in _UNSEEN and face_of(character) is not None
    return character if seen else f"\\u{{{ord(character):x}}}"


def _broken(line: str, size: int, width: int) -> list[str]:
    parts = [""]
    for unit in _units(line):
        if parts[-1] and length(parts[-1] + unit, size) > width:
            parts.append("")
        parts[-1] += unit
    return parts


def _shortened(line: str, size: int, width: int) -> str:
    units = _units(line.removesuffix(" ..."))
    while units and length("".join(units) + " ...", size) > width:
        units.pop()
    return "".join(units) + " ..."


def _units(text: str) -> list[str]:
    """`text` in parts that are not to be broken: a character with its marks, or the code of one."""
    units: list[str] = []
    for found in _UNIT.findall(text):
        if units and (joins(found[0]) or units[-1].endswith("\u200d")):
            units[-1] += found
        else:
            units.append(found)
    return units
