"""Where a bundle is to be written: checked at the start, for an export takes minutes."""

import os
from pathlib import Path

from memscan.scanner.errors import ExportError


def beside(out: Path) -> Path:
    """The folder in which a bundle is written until it is whole."""
    return out.absolute().with_name(f".{out.name}.partial-{os.getpid()}")


def require_free(out: Path) -> None:
    """Check that a bundle can be made at `out`, making the folder that will hold it.

    Raises:
        ExportError: something is there, a link that leads nowhere included, or the folder is not writable.
        OSError: no folder can be made there.
    """
    if out.name in ("", ".."):
        raise ExportError(f"{out} is no name for a bundle: choose another name")
    folder = out.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    _exists(beside(out))  # raises if the longer name of the two is too long
    if _exists(out) and not out.exists():
        raise ExportError(f"{out} is a link that leads nowhere: choose another name, or remove it first")
    if out.exists():
        raise ExportError(f"{out} exists: choose another name, or remove it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExportError(f"{out} cannot be made: {folder} is not writable; choose another name")


def _exists(file: Path) -> bool:
    """Whether there is anything of this name, be it a link that leads nowhere."""
    try:
        file.lstat()
    except FileNotFoundError:
        return False
    return True
