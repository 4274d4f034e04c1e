"""Paths of this machine, where an object store will not do."""

from pathlib import Path

from memscan.scanner.errors import UsageError
from memscan.scanner.place import Url, place_of


def local_path(text: str | Path) -> Path:
    """The path `text`, or that of a URL file:///PATH.

    Raises:
        UsageError: it is another URL.
    """
    place = place_of(text)
    if isinstance(place, Url):
        raise UsageError(f"{place} is a URL: only paths of this machine are supported here")
    return place
