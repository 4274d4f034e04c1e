"""Images counted by their fate."""

import dataclasses
import itertools
from collections.abc import Iterable

import pyarrow as pa

from memscan.scanner.samples import SAMPLED

SCREENED = "screened"
"""The status of an image that `--screen` left out of the scan."""

_REASONS = 3


@dataclasses.dataclass(frozen=True)
class Tally:
    """Images by their fate: each is `ok`, `error` (at any step) or `screened`; `truncated` counts among all.

    So do `given`, which rows bring, and `sampled`; an image of a garbled row is neither. `reasons` are the first few
    that differ of those for which images failed.
    """

    ok: int = 0
    error: int = 0
    truncated: int = 0
    given: int = 0
    sampled: int = 0
    screened: int = 0
    reasons: tuple[str, ...] = ()

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            ok=self.ok + other.ok,
            error=self.error + other.error,
            screened=self.screened + other.screened,
            truncated=self.truncated + other.truncated,
            given=self.given + other.given,
            sampled=self.sampled + other.sampled,
            reasons=_first_different(self.reasons + other.reasons),
        )

    @property
    def images(self) -> int:
        return self.ok + self.error + self.screened


def tally(batches: Iterable[pa.RecordBatch]) -> Tally:
    """Count the images of record batches of a results table."""
    sources: dict[tuple[int, int], str | None] = {}
    failed: dict[tuple[int, int], str] = {}
    screened: set[tuple[int, int]] = set()
    truncated: set[tuple[int, int]] = set()
    for batch in batches:
        columns = (batch[name].to_pylist() for name in ("row", "seed", "status", "error", "truncated", "image_source"))
        for row, seed, status, error, is_truncated, source in zip(*columns, strict=True):
            key = (row, seed)
            sources[key] = source
            if status == SCREENED:
                screened.add(key)
            elif status != "ok":
                failed.setdefault(key, error)
            if is_truncated:
                truncated.add(key)
    known = [source == SAMPLED for source in sources.values() if source is not None]
    return Tally(
        ok=len(sources) - len(failed) - len(screened),
        error=len(failed),
        screened=len(screened),
        truncated=len(truncated),
        given=known.count(False),
        sampled=known.count(True),
        reasons=_first_different(failed.values()),
    )


def _first_different(reasons: Iterable[str]) -> tuple[str, ...]:
    return tuple(itertools.islice(dict.fromkeys(reasons), _REASONS))
