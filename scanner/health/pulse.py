"""How far a share of a run is, as its heartbeat says it, and as OpenMetrics for a monitoring system.

A pulse is written when work advances, not by a clock: of a process that hangs it grows old.
"""

import dataclasses
import json
from collections.abc import Mapping

from memscan.scanner.records import parse_json, read_record

_HELP = {
    "images": "Images of the share",
    "done": "Images of the share that are done, those of earlier processes among them",
    "failed": "Images among them with errors",
    "scanned": "Images that this process has scanned",
    "seconds": "Seconds since this process began to scan",
}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


@dataclasses.dataclass(frozen=True)
class Pulse:
    """`images` of the share `share` are to do, of which so many are `done`, fractions of a batch among them.

    `scanned` in `seconds` is what this process did. `time` is when it was written, in seconds since 1970, by the clock
    of the machine `host`. `ended` says that the process has done its share.
    """

    share: str
    images: int
    done: float
    failed: int
    scanned: float
    seconds: float
    time: float
    host: str
    process: int
    ended: bool = False

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.scanned / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> bytes:
        """The heartbeat."""
        return json.dumps(dataclasses.asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Pulse":
        """The inverse of `to_json`; raises RecordError."""
        return read_record(cls, parse_json(text))

    def to_openmetrics(self, labels: Mapping[str, str]) -> str:
        """Gauges in the text format of OpenMetrics 1.0, which Prometheus and its textfile collector read.

        Args:
            labels: of every sample, beside the share.
        """
        named = {"share": self.share, **labels}
        said = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in named.items())
        values = {name: float(getattr(self, name)) for name in _HELP}
        helps = {name: f"{help}." for name, help in _HELP.items()}
        values |= {"last_progress_timestamp_seconds": self.time, "ended": float(self.ended)}
        helps |= {
            "last_progress_timestamp_seconds": "When work last advanced, since 1970.",
            "ended": "1 once the process has done its share.",
        }
        lines = []
        for name, value in values.items():
            lines += [f"# TYPE memscan_{name} gauge", f"# HELP memscan_{name} {helps[name]}"]
            lines += [f"memscan_{name}{{{said}}} {value!r}"]
        return "\n".join([*lines, "# EOF", ""])
