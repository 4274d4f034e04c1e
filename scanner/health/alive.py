"""Whether a run is alive: what its workers' pulses say, for the probes of containers and schedulers."""

import socket
import time
from pathlib import Path
from typing import NamedTuple

from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.pulse import read_pulses
from memscan.scanner.results.store import LocalStore
from memscan.scanner.terminal import printable


class Health(NamedTuple):
    """Whether all is well, and why, in one line."""

    well: bool
    why: str


def health(out: Path, max_age: float, *, host: str | None = None, now: float | None = None) -> Health:
    """Look at the pulse that advanced last: of this machine's processes if any, as a probe runs beside its process.

    Args:
        max_age: seconds since work last advanced; pulses come every 15 s, so that less is no use.
        host: name of this machine; `now` is its time, in seconds since 1970.

    Raises:
        OSError: the folder cannot be read.
    """
    store = LocalStore(out)
    if OutputFolder(store).complete:
        return Health(True, "the run is complete")
    pulses = list(read_pulses(store))
    if not pulses:
        return Health(False, f"no pulse in {out}: no run has begun to scan there")
    host = socket.gethostname() if host is None else host
    last = max([pulse for pulse in pulses if pulse.host == host] or pulses, key=lambda pulse: pulse.advanced)
    if last.state == "done":
        return Health(True, f"share {last.share} is done")
    if last.state != "working":
        return Health(False, printable(f"share {last.share} has {last.state}: {last.error}"))
    age = max((time.time() if now is None else now) - last.advanced, 0.0)  # a clock that was set back makes none old
    said = f"share {last.share} advanced {age:.0f} s ago, {int(last.finished)} of {last.share_images} images are done"
    return Health(age <= max_age, said)
