"""What a worker says now and then of its share of a run, for whoever asks how far the run is.

Nothing is decided by it: a worker that dies says no more, and clocks of several machines differ. The results themselves
say what is done.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Literal

from memscan.scanner.records import RecordError, check_range, parse_json, read_record
from memscan.scanner.results import layout
from memscan.scanner.results.store import Store

State = Literal["working", "done", "stopped"]


@dataclasses.dataclass(frozen=True)
class Pulse:
    """Of a worker's last sign of life.

    `parts` and `images` are those of the whole run, `share_images` those of the share; of these `finished` are there,
    `failed` among them with errors. `scanned` were scanned by this process in `seconds`, by its own steady clock.
    `beats` counts the signs of this process, and `written` is its date by the worker's clock, in UTC (ISO 8601).
    """

    share: str
    host: str
    process: int
    state: State
    parts: int
    images: int
    share_images: int
    finished: int
    failed: int
    scanned: int
    seconds: float
    beats: int
    written: str

    def __post_init__(self) -> None:
        for name in ("process", "parts", "images", "share_images", "finished", "failed", "scanned", "beats"):
            check_range(name, getattr(self, name), 0, 2**63 - 1)
        check_range("seconds", self.seconds, 0.0, 1e12)

    @property
    def rate(self) -> float:
        """Images a second that this process has scanned."""
        return self.scanned / self.seconds if self.seconds else 0.0


def write_pulse(store: Store, pulse: Pulse) -> None:
    """Write a share's pulse in place of its last one."""
    with store.writing(layout.pulse(pulse.share)) as stream:
        stream.write(json.dumps(dataclasses.asdict(pulse)).encode())


def read_pulses(store: Store) -> Iterator[Pulse]:
    """The last pulse of every share that ever gave one, by name; what is no pulse, or is torn, is passed over."""
    for name in store.names(layout.PULSES):
        try:
            with store.open(name) as stream:
                yield read_record(Pulse, parse_json(stream.read()))
        except (RecordError, FileNotFoundError):
            continue
