"""The log of a command, on standard error: plain lines for people, and lines with time and level for logs.

memscan: done: 2 images                                     on a terminal
2026-11-28T03:34:17+0000 INFO memscan: done: 2 images       in a file, a pipe, or where TERM is "dumb"
{"time": "2026-11-28T03:34:17+0000", "level": "INFO", "message": "done: 2 images"}       where JSON is asked for
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from typing import TextIO

from memscan.scanner.notes import LOGGER
from memscan.scanner.terminal import printable

_DATED = "%(asctime)s %(levelname)s memscan: %(message)s"
_PLAIN = "memscan: %(message)s"
_TIME = "%Y-%m-%dT%H:%M:%S%z"


@contextlib.contextmanager
def logged_to(stream: TextIO, *, dated: bool) -> Iterator[None]:
    """Write what memscan notes to a stream while the block runs."""
    handler = _Handler(stream)
    handler.setFormatter(_Formatter(_DATED if dated else _PLAIN, _TIME))
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


def log_json() -> None:
    """Write objects instead of lines, one a line, to the stream of the command; no bars are drawn there."""
    for handler in _handlers():
        handler.setFormatter(_Objects(datefmt=_TIME))
        handler.lines_only = True


def log_warnings_only() -> None:
    """Leave out what is only good to know, and progress."""
    LOGGER.setLevel(logging.WARNING)


def is_json() -> bool:
    """Whether objects are written."""
    return any(isinstance(handler.formatter, _Objects) for handler in _handlers())


def _handlers() -> "list[_Handler]":
    return [handler for handler in LOGGER.handlers if isinstance(handler, _Handler)]


class _Objects(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said = {"time": self.formatTime(record, _TIME), "level": record.levelname, "message": record.getMessage()}
        return json.dumps(said | {"message": printable(said["message"])}, ensure_ascii=False)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _Handler(logging.StreamHandler[TextIO]):
    lines_only = False

    def handleError(self, record: logging.LogRecord) -> None:
        """A log that cannot be written stops no work."""
