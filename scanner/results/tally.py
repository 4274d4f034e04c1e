"""Images counted by their fate."""

import dataclasses

import pyarrow as pa


@dataclasses.dataclass(frozen=True)
class Tally:
    """Images by their fate: each is `ok` or `error` (at any step); `truncated` counts among both."""

    ok: int = 0
    error: int = 0
    truncated: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.ok + other.ok, self.error + other.error, self.truncated + other.truncated)

    @property
    def images(self) -> int:
        return self.ok + self.error


def tally(table: pa.Table) -> Tally:
    """Count the images of a results table."""
    keys = list(zip(table["row"].to_pylist(), table["seed"].to_pylist(), strict=True))
    failed = {key for key, status in zip(keys, table["status"].to_pylist(), strict=True) if status != "ok"}
    truncated = {key for key, flag in zip(keys, table["truncated"].to_pylist(), strict=True) if flag}
    return Tally(len(set(keys)) - len(failed), len(failed), len(truncated))
