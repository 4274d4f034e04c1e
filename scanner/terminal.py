"""Text from manifests, bundles and file names, made safe to print: it must not steer the terminal that shows it."""

import unicodedata

_KEPT = "\n\t"
_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"
"""Zero-width (non-)joiners, which several scripts and emoji are spelled with."""


def printable(text: str) -> str:
    """The text with all that steers a terminal, or that UTF-8 cannot say, written as Python escapes.

    Those are control and format characters (escape sequences, bidirectional overrides), and the surrogates that stand
    for bytes of file names and arguments that are not UTF-8. Line breaks and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def printable_line(text: str) -> str:
    """As `printable`, for text that must stay in one line: line breaks and tabs are escaped too."""
    return "".join(_escape(character) if character in _KEPT else character for character in printable(text))


def _shown(character: str) -> str:
    if character in _KEPT or character in _JOINERS:
        return character
    return _escape(character) if unicodedata.category(character) in _STEERING else character


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # the byte that Python's surrogateescape hides in it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
