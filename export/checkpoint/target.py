"""Where a bundle is to be written: checked at the start, for an export takes minutes."""

import os
from pathlib import Path

from memscan.scanner.errors import ExportError


def require_free(out: Path) -> None:
    """Check that a bundle can be made at `out`, making the folder that will hold it.

    Raises:
        ExportError: something is there, a link that leads nowhere included, or nothing can be made there.
    """
    if out.is_symlink() and not out.exists():
        raise ExportError(f"{out} is a link that leads nowhere: choose another name, or remove it first")
    if os.path.lexists(out):
        raise ExportError(f"{out} exists: choose another name, or remove it first")
    folder = out.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ExportError(f"{out} cannot be made: {error.filename} is no folder; choose another name") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExportError(f"{out} cannot be made: {folder} is not writable; choose another name")
