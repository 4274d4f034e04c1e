"""A file that is written piece by piece: under its name when it is whole, and not at all if anything fails."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from memscan.scanner.errors import UsageError
from memscan.scanner.process.system_errors import explained


@contextlib.contextmanager
def replacing(file: Path, option: str) -> Iterator[Path]:
    """A new file beside `file`, to be written; when the block ends it takes that name.

    Raises:
        UsageError: nothing can be written there.
        EnvironmentFailed: the disk is full or broken.
    """
    aside = file.with_name(f".{file.name[:100]}.{secrets.token_hex(4)}")
    try:
        aside.touch(exist_ok=False)
        if file.is_dir():
            raise UsageError(f"cannot write {file}: it is a folder: choose another {option}")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}: choose another {option}") from error
    try:
        yield aside
        aside.replace(file)
    except OSError as error:
        raise explained(OSError(error.errno, error.strerror, str(file))) from error
    finally:
        aside.unlink(missing_ok=True)
