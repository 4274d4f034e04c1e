"""Writes the pulse of a share while it is worked on. A disk that refuses it stops no work: it is said once."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from memscan.scanner.health.pulse import Pulse
from memscan.scanner.notes import warn
from memscan.scanner.results import layout
from memscan.scanner.results.store import Store

_BETWEEN = 5.0  # seconds


class Heart:
    """Beats at once, then when work advances, at most every few seconds, and when the share is done.

    Args:
        images, done, failed: of the share: all, and those that earlier processes did.
        metrics: a file for OpenMetrics, if one is wanted; `labels` are those of its samples.
    """

    def __init__(
        self,
        store: Store,
        share: str,
        images: int,
        done: int,
        failed: int,
        *,
        metrics: Path | None = None,
        labels: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._share, self._images = store, share, images
        self._done, self._failed, self._scanned = float(done), failed, 0.0
        self._metrics, self._labels = metrics, labels
        self._clock, self._now = clock, now
        self._began = self._last = clock()
        self._refused = False
        self._beat()

    def advance(self, count: float, errors: int) -> None:
        """Count images, or fractions of them, as done, and those that failed."""
        self._done += count
        self._scanned += count
        self._failed += errors
        if self._clock() - self._last >= _BETWEEN:
            self._beat()

    def end(self) -> None:
        """Say that the share is done."""
        self._beat(ended=True)

    def _beat(self, *, ended: bool = False) -> None:
        self._last = self._clock()
        pulse = Pulse(
            self._share,
            self._images,
            round(self._done, 3),
            self._failed,
            round(self._scanned, 3),
            round(self._last - self._began, 3),
            round(self._now(), 3),
            socket.gethostname(),
            os.getpid(),
            ended,
        )
        try:
            self._store.publish(layout.heartbeat(self._share), pulse.to_json())
            if self._metrics is not None:
                _replace(self._metrics, pulse.to_openmetrics(self._labels))
        except OSError as error:
            if not self._refused:
                warn(f"heartbeat or metrics cannot be written, and the scan goes on: {error}")
            self._refused = True


def _replace(file: Path, text: str) -> None:
    """Whoever collects the files of the folder by their endings does not see it while it is written."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, "utf-8")
        os.replace(temporary, file)  # noqa: PTH105 - not one of the renames that a commit is made of
    finally:
        temporary.unlink(missing_ok=True)
