"""Values of a row of ground truth as they are asked for; what cannot be is a ValueError that names the column."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from memscan.scanner.records import shown
from memscan.scanner.terminal import brief

MAX_SEED = (1 << 63) - 1

PROMPT = ("prompt", "caption", "text", "prompt_raw")
"""Names that a column of prompts has, in lower case; the first that is there is taken."""


def named(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The first column whose name, without case and blanks around it, is one of `wanted`, in their order."""
    folded: dict[str, str] = {}
    for name in names:
        folded.setdefault(name.strip().lower(), name)
    return next((folded[one] for one in wanted if one in folded), None)


def rows(columns: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """The rows of columns of equal length."""
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def prompt_of(value: Any) -> str:
    """The text of a prompt."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"the prompt is {shown(value)}, not a text")
    return value


def whole(name: str, value: Any, most: int = MAX_SEED, least: int = 0) -> int:
    """An integer, also as a whole float or as text."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) <= len(str(most)):
        value = int(value)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != value // 1
        or not least <= value <= most
    ):
        raise ValueError(f"{name} is {shown(value)}, not a whole number from {least} to {most}")
    return int(value)


def listed(name: str, value: Any) -> list[Any]:
    """A list, None where there is none; also NumPy's and pandas' in JSON."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is {shown(value)}, not a list")
    return list(value)


def said(value: Any) -> str:
    """A value for a message, whatever it holds."""
    return brief(shown(value))
