"""Writes the pulse of a share now and then, from a thread of its own: also while a batch takes an hour.

A disk that refuses a pulse stops no work: what does not pass will stop the results too, and is said there.
"""

import contextlib
import dataclasses
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from memscan.scanner.health.openmetrics import openmetrics
from memscan.scanner.notes import warn
from memscan.scanner.process.outcome import foretold
from memscan.scanner.process.signals import Terminated
from memscan.scanner.results.pulse import Pulse, State, write_pulse
from memscan.scanner.results.store import Store

PERIOD = 15.0
"""Seconds between two pulses."""


class PulseWriter:
    """Counts what a worker has done of its share, and says so.

    Args:
        pulse: where it begins.
        metrics: a file for OpenMetrics, if one is wanted; `labels` are those of its samples.
        clock: steady, in seconds; `now` is the time, in seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        pulse: Pulse,
        *,
        metrics: Path | None = None,
        labels: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._pulse = store, pulse
        self._scanned, self._failed, self._advanced = 0.0, 0, pulse.advanced  # by this process, since it began
        self._earlier = pulse.finished, pulse.failed
        self._metrics, self._labels = metrics, labels
        self._clock, self._now = clock, now
        self._began = clock()
        self._lock = threading.Lock()
        self._refused = False

    @property
    def pulse(self) -> Pulse:
        """The last one that was written."""
        return self._pulse

    def advance(self, count: float, errors: int) -> None:
        """Count images, or fractions of them, as done, and those that failed."""
        with self._lock:
            self._scanned += count
            self._failed += errors
            self._advanced = self._now()

    def write(self, state: State = "working", error: str | None = None, exit_code: int | None = None) -> None:
        """Write a pulse, in place of the last one."""
        with self._lock:
            said = self._pulse = dataclasses.replace(
                self._pulse,
                state=state,
                finished=self._earlier[0] + round(self._scanned, 6),
                failed=self._earlier[1] + self._failed,
                scanned=round(self._scanned, 6),
                advanced=round(self._advanced, 3),
                seconds=round(self._clock() - self._began, 3),
                beats=self._pulse.beats + 1,
                written=datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="seconds"),
                error=error,
                exit_code=exit_code,
            )
        try:
            write_pulse(self._store, said)
            if self._metrics is not None:
                _replace(self._metrics, openmetrics(said, self._labels))
        except OSError as refused:
            if not self._refused:
                warn(f"the pulse or its metrics cannot be written, and the scan goes on: {refused}")
            self._refused = True


@contextlib.contextmanager
def pulsing(writer: PulseWriter, period: float = PERIOD) -> Iterator[None]:
    """Write pulses while the block runs, and one more when it ends, be it by an error."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(period):
            writer.write()

    writer.write()
    thread = threading.Thread(target=go_on, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        ended.set()
        thread.join()
        writer.write(
            "stopped" if isinstance(error, KeyboardInterrupt | Terminated) else "failed", *foretold(error, "run")
        )
        raise
    ended.set()
    thread.join()
    writer.write("done")


def first_pulse(share: str, *, parts: int, images: int, share_images: int, found: int, failed: int) -> Pulse:
    """Where a worker begins; see `Pulse` for its numbers.

    Args:
        parts, images: of the whole run.
        found: images of the share that an earlier process has finished; `failed` of them have errors.
    """
    return Pulse(
        share,
        socket.gethostname(),
        os.getpid(),
        "working",
        parts,
        images,
        share_images,
        found,
        failed,
        scanned=0,
        seconds=0.0,
        beats=0,
        written="",
        advanced=round(time.time(), 3),
    )


def _replace(file: Path, text: str) -> None:
    """Whoever collects the files of the folder by their endings does not see it while it is written."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, "utf-8")
        os.replace(temporary, file)  # noqa: PTH105 - not one of the renames that a commit is made of
    finally:
        temporary.unlink(missing_ok=True)
