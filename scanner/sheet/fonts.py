"""Which font draws a character: Pillow's own, else one that the system has, else none.

Pillow's own (Aileron) has ASCII and little more. Whatever script a prompt is in, a system that shows it elsewhere has a
font for it, found here by the names that the usual families have.
"""

import io
import os
import unicodedata
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path

from PIL import ImageFont

OWN = ""
"""In place of a file's path: the font that Pillow brings along."""

_FOLDERS = (
    *("~/.local/share/fonts", "~/.fonts", "/usr/local/share/fonts", "/usr/share/fonts"),
    *("~/Library/Fonts", "/Library/Fonts", "/System/Library/Fonts", "C:/Windows/Fonts"),
)
_FILES = (
    *("dejavusans.ttf", "notosans-regular.*", "notosans[[]*", "notosanscjk*-regular.*", "notosans*", "notoemoji*"),
    *("freesans.*", "droidsansfallback*", "wqy-*", "ipag*", "takao*gothic*", "nanumgothic.*", "unifont*"),
    *("arial unicode.*", "hiragino*w3.*", "pingfang.*", "applesdgothicneo.*", "geezapro.*", "apple symbols.*"),
    *("segoeui.*", "seguisym.*", "seguiemj.*", "yugothr.*", "msgothic.*", "msyh.*", "malgun.*", "nirmala.*"),
)
"""Patterns of lower-case file names, best first."""

_OTHER_FACES = ("bold", "italic", "oblique", "light", "thin", "black", "medium", "condensed")
_SUFFIXES = (".ttf", ".otf", ".ttc")
_MOST_FONTS = 300
_NOWHERE = "\U0010ffff"  # no character, so that every font draws for it what it draws for those that it lacks
_TRIED_AT = 16


@cache
def faces() -> tuple[str, ...]:
    """Pillow's own font, then the paths of the system's, best first."""
    ranked = sorted((rank, file.name, str(file)) for file in _files() if (rank := _rank(file)) is not None)
    return (OWN, *(path for _, _, path in ranked[:_MOST_FONTS]))


@cache
def font(size: int, face: str = OWN) -> ImageFont.FreeTypeFont:
    """A font at `size` pixels.

    Raises:
        OSError: the file is no font, or none that can be drawn at this size.
    """
    if face != OWN:
        return ImageFont.truetype(face, size)
    loaded = ImageFont.load_default(size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return loaded


@lru_cache(maxsize=1 << 14)
def face_of(character: str) -> str | None:
    """The first font that has a character, by its path."""
    return next((face for face in faces() if _has(face, character)), None)


def runs(text: str) -> list[tuple[str, str]]:
    """`text` in as few fonts as can be, best first: (font, part of the text) in order.

    Marks and joiners stay with what they belong to. What no font has is left to Pillow's own.
    """
    for face in faces():
        if all(_has(face, character) for character in text if not joins(character)):
            return [(face, text)]
    chosen: list[str] = []
    for character in text:
        if chosen and (joins(character) or (chosen[-1] != OWN and _has(chosen[-1], character))):
            chosen.append(chosen[-1])
        else:
            chosen.append(face_of(character) or OWN)
    places = groupby(range(len(text)), key=chosen.__getitem__)
    return [(face, "".join(text[place] for place in group)) for face, group in places]


def joins(character: str) -> bool:
    """Whether a character is drawn with the one before it: a mark, or a joiner."""
    return character in "\u200c\u200d" or unicodedata.category(character).startswith("M")


@lru_cache(maxsize=1 << 16)
def _has(face: str, character: str) -> bool:
    lacking = _drawn_for_nothing(face)
    return lacking is not None and (character == " " or _drawn(face, character) != lacking)


@cache
def _drawn_for_nothing(face: str) -> tuple[tuple[int, int], bytes] | None:
    return _drawn(face, _NOWHERE)


def _drawn(face: str, character: str) -> tuple[tuple[int, int], bytes] | None:
    """Size and pixels of a character, drawn without shaping; None if the font cannot be used."""
    basic = _unshaped(face)
    if basic is None:
        return None
    mask = basic.getmask(character)
    return mask.size, bytes(mask)


@cache
def _unshaped(face: str) -> ImageFont.FreeTypeFont | None:
    try:
        file = io.BytesIO(font(_TRIED_AT).font_bytes) if face == OWN else face
        return ImageFont.truetype(file, _TRIED_AT, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return None


def _files() -> Iterator[Path]:
    for folder in _FOLDERS:
        for place, folders, names in os.walk(Path(folder).expanduser()):
            folders.sort()
            yield from (Path(place) / name for name in names if name.lower().endswith(_SUFFIXES))


def _rank(file: Path) -> int | None:
    name = file.name.lower()
    if any(face in name for face in _OTHER_FACES):
        return None
    return next((rank for rank, pattern in enumerate(_FILES) if fnmatch(name, pattern)), None)
