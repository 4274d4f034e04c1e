"""Whether a run is alive: the age of the heartbeats in its folder, for the probes of containers and schedulers."""

import socket
import time
from pathlib import Path
from typing import NamedTuple

from memscan.scanner.health.pulse import Pulse
from memscan.scanner.records import RecordError
from memscan.scanner.results import layout
from memscan.scanner.results.store import LocalStore


class Health(NamedTuple):
    """Whether all is well, and why, in one line."""

    well: bool
    why: str


def health(out: Path, max_age: float, *, host: str | None = None, now: float | None = None) -> Health:
    """Look at the youngest heartbeat: of this machine's processes if there are any, as a probe runs beside its process.

    Args:
        max_age: seconds.
        host: name of this machine; `now` is its time, in seconds since 1970.

    Raises:
        OSError: the folder cannot be read.
    """
    store = LocalStore(out)
    if layout.SUCCESS in store.names(layout.SUCCESS):
        return Health(True, "the run is complete")
    pulses = [pulse for name in store.names(layout.HEARTBEATS) if (pulse := _pulse(store, name))]
    if not pulses:
        return Health(False, f"no heartbeat in {out}: no run has begun to scan there")
    host = socket.gethostname() if host is None else host
    latest = max([pulse for pulse in pulses if pulse.host == host] or pulses, key=lambda pulse: pulse.time)
    if latest.ended:
        return Health(True, f"share {latest.share} is done")
    age = max((time.time() if now is None else now) - latest.time, 0.0)  # a clock that was set back makes none old
    said = f"share {latest.share} advanced {age:.0f} s ago, {int(latest.done)} of {latest.images} images are done"
    return Health(age <= max_age, said)


def _pulse(store: LocalStore, name: str) -> Pulse | None:
    try:
        with store.open(name) as stream:
            return Pulse.from_json(stream.read())
    except (FileNotFoundError, RecordError):
        return None
