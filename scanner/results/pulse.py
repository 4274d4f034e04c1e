"""What the worker of a share says of it now and then: how far it is, and how it ended.

For `memscan status`, which may ask from anywhere, and for `memscan health`, which asks whether work goes on: a worker
that hangs still says where it is, but `advanced` grows old. Nothing of a run is decided by it: a worker that is killed
says no more, and clocks of several machines differ. The results themselves say what is done.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Literal

from memscan.scanner.records import RecordError, check_range, parse_json, read_record
from memscan.scanner.results import layout
from memscan.scanner.results.store import Store

State = Literal["working", "done", "stopped", "failed"]
"""Stopped by a signal, or failed by an error: both end the process, and the same command does the rest."""


@dataclasses.dataclass(frozen=True)
class Pulse:
    """A worker's last sign of life.

    `parts` and `images` are those of the whole run, `share_images` those of the share; of these `finished` are there,
    fractions of a batch among them, `failed` of them with errors. `scanned` were scanned by this process in `seconds`,
    by its own steady clock. `beats` counts the signs of this process. By the worker's clock, `written` is the date of
    this one in UTC (ISO 8601), and `advanced` is when work last advanced, in seconds since 1970. Of a process that was
    stopped or failed, `error` is its last line, and `exit_code` its code.
    """

    share: str
    host: str
    process: int
    state: State
    parts: int
    images: int
    share_images: int
    finished: float
    failed: int
    scanned: float
    seconds: float
    beats: int
    written: str
    advanced: float
    error: str | None = None
    exit_code: int | None = None

    def __post_init__(self) -> None:
        for name in ("process", "parts", "images", "share_images", "finished", "failed", "scanned", "beats"):
            check_range(name, getattr(self, name), 0, 2**63 - 1)
        for name in ("seconds", "advanced"):
            check_range(name, getattr(self, name), 0.0, 1e12)

    @property
    def rate(self) -> float:
        """Images a second that this process has scanned."""
        return self.scanned / self.seconds if self.seconds else 0.0


def write_pulse(store: Store, pulse: Pulse) -> None:
    """Write a share's pulse in place of its last one."""
    store.publish(layout.pulse(pulse.share), json.dumps(dataclasses.asdict(pulse), indent=1).encode())


def read_pulses(store: Store) -> Iterator[Pulse]:
    """The last pulse of every share that ever gave one, by name; what is no pulse, or is torn, is passed over."""
    for name in store.names(layout.PULSES):
        try:
            with store.open(name) as stream:
                yield read_record(Pulse, parse_json(stream.read()))
        except (RecordError, FileNotFoundError):
            continue
