"""The log of a command, on standard error: plain lines for people, and lines with time and level for logs.

memscan: done: 2 images                                     on a terminal
2026-11-28T03:34:17+0000 INFO memscan: done: 2 images       in a file, a pipe, or where TERM is "dumb"
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import TextIO

from memscan.scanner.notes import LOGGER
from memscan.scanner.terminal import printable

_DATED = "%(asctime)s %(levelname)s memscan: %(message)s"
_PLAIN = "memscan: %(message)s"


@contextlib.contextmanager
def logged_to(stream: TextIO, *, dated: bool) -> Iterator[None]:
    """Write what memscan notes to a stream while the block runs."""
    handler = _Handler(stream)
    handler.setFormatter(_Formatter(_DATED if dated else _PLAIN, "%Y-%m-%dT%H:%M:%S%z"))
    level, propagate = LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """A log that cannot be written stops no work."""
