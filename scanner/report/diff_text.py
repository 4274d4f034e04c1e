"""A comparison of two runs as lines for a terminal, and as JSON."""

import dataclasses
import json
from collections.abc import Iterator

from memscan.scanner.report.diff import CHANGES, Change, Diff
from memscan.scanner.sheet.scale import number
from memscan.scanner.terminal import brief, printable

_PROMPT = 60


def diff_text(found: Diff) -> str:
    """The counts, how far scores moved, and examples of each change."""
    return "\n".join(_lines(found))


def diff_json(found: Diff) -> str:
    """All of a comparison, as JSON in UTF-8."""
    return json.dumps(dataclasses.asdict(found) | {"newly": found.newly}, indent=2, ensure_ascii=False) + "\n"


def _lines(found: Diff) -> Iterator[str]:
    width = max(map(len, CHANGES))
    for name, count in found.counts.items():
        yield f"{name:<{width}}  {count:>9,}"
    if found.shift:
        figures = ", ".join(f"{name} {value:+.4f}" for name, value in found.shift.items())
        yield f"score, new minus old: {figures}"
    for change in dict.fromkeys(one.change for one in found.examples):
        yield ""
        yield change
        yield from (_line(one) for one in found.examples if one.change == change)


def _line(one: Change) -> str:
    scores = " -> ".join("-" if score is None else number(score) for score in (one.old_score, one.new_score))
    known = "" if one.id is None else f"  {printable(brief(one.id, 24))}"
    return f"  {scores:<16}  seed {one.seed}{known}  {brief(one.prompt, _PROMPT)}"
