"""Images counted by their fate."""

import dataclasses
import itertools
from collections.abc import Iterable

import pyarrow as pa

_REASONS = 3


@dataclasses.dataclass(frozen=True)
class Tally:
    """Images by their fate: each is `ok` or `error` (at any step); `truncated` counts among both.

    `reasons` are the first few that differ of those for which images failed.
    """

    ok: int = 0
    error: int = 0
    truncated: int = 0
    reasons: tuple[str, ...] = ()

    def __add__(self, other: "Tally") -> "Tally":
        reasons = _first_different(self.reasons + other.reasons)
        return Tally(self.ok + other.ok, self.error + other.error, self.truncated + other.truncated, reasons)

    @property
    def images(self) -> int:
        return self.ok + self.error


def tally(batches: Iterable[pa.RecordBatch]) -> Tally:
    """Count the images of record batches of a results table."""
    keys: set[tuple[int, int]] = set()
    failed: dict[tuple[int, int], str] = {}
    truncated: set[tuple[int, int]] = set()
    for batch in batches:
        columns = (batch[name].to_pylist() for name in ("row", "seed", "status", "error", "truncated"))
        for row, seed, status, error, is_truncated in zip(*columns, strict=True):
            key = (row, seed)
            keys.add(key)
            if status != "ok":
                failed.setdefault(key, error)
            if is_truncated:
                truncated.add(key)
    return Tally(len(keys) - len(failed), len(failed), len(truncated), _first_different(failed.values()))


def _first_different(reasons: Iterable[str]) -> tuple[str, ...]:
    return tuple(itertools.islice(dict.fromkeys(reasons), _REASONS))
