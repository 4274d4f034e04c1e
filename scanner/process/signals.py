"""SIGINT and SIGTERM: the first asks the work to end, the next one, a second later or more, ends the process at once.

Python runs a handler of its own only between two of its instructions, so a library's call that never returns would keep
any signal waiting: the second one is waited for by a thread. Signals within a second of each other are one wish
(`timeout` sends its signal to the process and to its group).
"""

import os
import signal
import threading
import time

_ONE_WISH = 1.0  # seconds


class Terminated(BaseException):
    """SIGTERM arrived. Not an Exception, so that nothing between here and `main` swallows it."""


_EXCEPTIONS: dict[int, type[BaseException]] = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


def stop_on_signals() -> None:
    """Install the handlers, also where whoever started the process ignores SIGINT, as shells do for `memscan ... &`."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_watch, args=(reader,), daemon=True, name="signals").start()
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    asked = threading.Event()
    for number, exception in _EXCEPTIONS.items():
        signal.signal(number, lambda *_, exception=exception: _ask(asked, exception))


def _ask(asked: threading.Event, exception: type[BaseException]) -> None:
    if not asked.is_set():  # a second exception would break the first one's cleaning up
        asked.set()
        raise exception


def _watch(reader: int) -> None:
    first: float | None = None
    while received := os.read(reader, 1):
        now = time.monotonic()
        if received[0] not in _EXCEPTIONS:
            continue
        if first is None:
            first = now
        elif now - first >= _ONE_WISH:
            os._exit(128 + received[0])
