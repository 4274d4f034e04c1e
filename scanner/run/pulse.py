"""Says now and then how far a share is, from a thread of its own: also while a batch takes an hour."""

import contextlib
import dataclasses
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from memscan.scanner.results.pulse import Pulse, State, write_pulse
from memscan.scanner.results.store import Store

PERIOD = 15.0
"""Seconds between two pulses."""

Beat = Callable[[int, int], None]
"""Counts images as done, and those that failed."""


@contextlib.contextmanager
def pulsing(
    store: Store,
    share: str,
    *,
    parts: int,
    images: int,
    share_images: int,
    found: int,
    failed: int,
    period: float = PERIOD,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Beat]:
    """Write a share's pulse while the block runs, and once more when it ends; see `Pulse` for its numbers.

    Args:
        parts, images: of the whole run.
        found: images of the share that an earlier process has finished; `failed` of them have errors.

    Raises:
        OSError: the first or the last pulse cannot be written.
    """
    began = clock()
    now = Pulse(
        share, socket.gethostname(), os.getpid(), "working", parts, images, share_images, found, failed, 0, 0.0, 0, ""
    )
    lock, ended = threading.Lock(), threading.Event()

    def beat(state: State) -> None:
        nonlocal now
        with lock:
            date = datetime.now(UTC).isoformat(timespec="seconds")
            now = dataclasses.replace(now, state=state, seconds=clock() - began, beats=now.beats + 1, written=date)
            said = now
        write_pulse(store, said)

    def advance(count: int, errors: int) -> None:
        nonlocal now
        with lock:
            now = dataclasses.replace(
                now,
                finished=now.finished + count,
                scanned=now.scanned + count,
                failed=now.failed + errors,
            )

    def go_on() -> None:
        with contextlib.suppress(OSError):  # what does not pass will stop the results too, and is said there
            while not ended.wait(period):
                beat("working")

    beat("working")
    thread = threading.Thread(target=go_on, name="pulse", daemon=True)
    thread.start()
    try:
        yield advance
    except BaseException:
        ended.set()
        thread.join()
        with contextlib.suppress(OSError):  # the first error is the one to be said
            beat("stopped")
        raise
    ended.set()
    thread.join()
    beat("done")
