"""Errors of rows gathered by kind: what a message says but for the numbers and quoted values in it."""

import dataclasses
import re
from collections.abc import Iterable

from memscan.scanner.terminal import brief

_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|\\x[0-9a-f]{2}""")
_NUMBER = re.compile(r"\d+")
_LONGEST = 200
_MOST_KINDS = 200
_OTHERS = "other errors"


@dataclasses.dataclass
class ErrorKind:
    """`count` rows failed for reasons of one kind, of which `example`, of manifest row `row`, is the first."""

    example: str
    row: int
    count: int = 0


class ErrorsByKind:
    """Counts errors; at most so many kinds are told apart, so that memory does not grow with the rows."""

    def __init__(self) -> None:
        self._kinds: dict[str, ErrorKind] = {}

    def add(self, errors: Iterable[tuple[str | None, int]]) -> None:
        """Count rows by their error and manifest row."""
        for error, row in errors:
            text = brief(error or "no reason given", _LONGEST)
            kind = _NUMBER.sub("0", _QUOTED.sub("''", text))
            if kind not in self._kinds and len(self._kinds) >= _MOST_KINDS:
                kind, text = _OTHERS, _OTHERS
            self._kinds.setdefault(kind, ErrorKind(text, row)).count += 1

    def ranked(self) -> list[ErrorKind]:
        """The kinds, the most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: -kind.count)
