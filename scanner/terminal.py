"""Text that others wrote, on its way to a terminal or into a message: nothing in it steers, nothing is endless."""

import unicodedata
from collections.abc import Iterable
from itertools import islice

_STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, format, half surrogates, line and paragraph separators
_JOINERS = "\u200c\u200d"  # format characters that ordinary words and emoji are spelt with


def printable(text: str) -> str:
    """`text` in one line, with controls, direction marks and what is no Unicode as backslash escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(one) if unicodedata.category(one) in _STEERING else one for one in text)


def brief(text: str, limit: int = 100) -> str:
    """`text` printable and in at most `limit` characters, its end as dots if it is longer."""
    text = printable(text[: limit + 1])
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def listed(names: Iterable[str], total: int, limit: int = 10) -> str:
    """The first `limit` of `total` names, each cut, and how many more there are."""
    shown = ", ".join(brief(name, 60) for name in islice(names, limit)) or "none"
    return shown if total <= limit else f"{shown} and {total - limit} more"


def _escaped(one: str) -> str:
    return one if one in _JOINERS else one.encode("unicode_escape", "surrogatepass").decode("ascii")
