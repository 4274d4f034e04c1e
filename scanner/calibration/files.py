"""Writing a calibration: whole or not at all, and never over one that is there."""

import hashlib
import os
import tempfile
from pathlib import Path

from memscan.scanner.errors import UsageError
from memscan.scanner.process.system_errors import explained

_DIGEST_SHOWN = 12


def check_free(file: Path, *, replace: bool) -> None:
    """Check that a calibration can be written, before hours are spent on it.

    Raises:
        UsageError: there is a file already that is not to be replaced, or its folder cannot be written.
    """
    if os.path.lexists(file) and not replace:
        raise UsageError(f"{file} is there already: --replace keeps it under another name, --out FILE writes elsewhere")
    if not file.parent.is_dir():
        raise UsageError(f"cannot write {file}: there is no folder {file.parent}: choose another --out")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {file}: its folder is read-only: --out FILE writes elsewhere")


def write_calibration(content: bytes, file: Path, *, replace: bool) -> None:
    """Write a calibration's file; one that is there is kept as NAME.DIGEST.json.

    Raises:
        UsageError: as `check_free`.
        EnvironmentFailed: the disk is full or broken.
    """
    check_free(file, replace=replace)
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(stream.name).chmod(0o644)
        if os.path.lexists(file):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()[:_DIGEST_SHOWN]
            file.rename(file.with_name(f"{file.stem}.{digest}{file.suffix}"))
        Path(stream.name).rename(file)
    except OSError as error:
        raise explained(OSError(error.errno, error.strerror, str(file))) from error
