"""Text that others wrote, on its way to a terminal or into a message: nothing in it steers, nothing is endless."""

import os
import unicodedata
from collections.abc import Iterable
from itertools import islice
from typing import TextIO

_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, format characters, half surrogates, line and paragraph separators."""

_JOINERS = "\u200c\u200d"
"""Zero-width (non-)joiners, format characters that words of several scripts and emoji are spelt with."""


def is_terminal(stream: TextIO) -> bool:
    """Whether bars can be drawn on a stream."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def printable(text: str) -> str:
    """`text` in one line, with all that steers a terminal, or that UTF-8 cannot say, as Python's escapes.

    Those are escape sequences, line breaks, bidirectional overrides, and the surrogates that stand for bytes of file
    names and arguments that are not UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def printable_lines(text: str) -> str:
    """As `printable`, for text of several lines: line breaks and tabs stay."""
    return "".join(character if character in "\n\t" else _shown(character) for character in text)


def brief(text: str, limit: int = 100) -> str:
    """`text` printable and in at most `limit` characters, its end as dots if it is longer."""
    text = printable(text[: limit + 1])
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def listed(names: Iterable[str], total: int, limit: int = 10) -> str:
    """The first `limit` of `total` names, each cut, and how many more there are."""
    shown = ", ".join(brief(name, 60) for name in islice(names, limit)) or "none"
    return shown if total <= limit else f"{shown} and {total - limit} more"


def _shown(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _STEERING:
        return character
    if "\udc80" <= character <= "\udcff":  # the byte that Python's surrogateescape hides in it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
