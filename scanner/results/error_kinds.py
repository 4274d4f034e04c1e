"""Errors of rows by their kind: their texts without what is another in each row."""

import re
from collections import Counter
from collections.abc import Iterable

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_BRACKETS = re.compile(r"\s*\([^()]*\)")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_LONGEST = 100


def error_kind(error: str) -> str:
    """What an error has in common with others of its kind: the text before a colon, without names and numbers."""
    text = _BRACKETS.sub("", _QUOTED.sub("...", error)).partition(": ")[0]
    return _NUMBER.sub("N", text).strip()[:_LONGEST] or "unknown"


def count_kinds(errors: Iterable[str | None]) -> Counter[str]:
    """How often each kind occurs."""
    return Counter(error_kind(error or "") for error in errors)
