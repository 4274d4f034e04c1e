"""Paths of this machine: a URL is refused before it becomes a folder of the name `s3:`."""

import re
from pathlib import Path

from memscan.scanner.errors import UsageError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def local_path(text: str | Path) -> Path:
    """The path `text`.

    Raises:
        UsageError: it is a URL, also one whose second slash a `Path` has swallowed.
    """
    if _URL.match(str(text)):
        raise UsageError(f"{text} is a URL: only paths of this machine are supported")
    return Path(text)
