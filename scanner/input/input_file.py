"""One file of a manifest, wherever its bytes lie: on a disk or in an object store, or come from standard input.

It is opened here and nowhere else, so that no library takes its name for a URL or a pattern.
"""

import dataclasses
import errno
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from typing import IO

from memscan.scanner.errors import ManifestError
from memscan.scanner.place import Place, Url
from memscan.scanner.ranged import Ranged

OF_THE_PATH = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
    errno.ENXIO,
    errno.ENODEV,
    errno.EOVERFLOW,
}
"""Errors that a path brings upon itself; others are the disk's or the system's."""


@dataclasses.dataclass(frozen=True)
class InputFile:
    """`folder` is where image paths start; `partitions` are the `name=value` folders that the file lies in."""

    path: Place
    folder: Place
    format: str
    partitions: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    spool: IO[bytes] | None = dataclasses.field(default=None, compare=False)

    def open(self) -> io.BufferedReader:
        """The file's bytes from the beginning; several can be open at once.

        Raises:
            ManifestError: it cannot be opened.
        """
        if self.spool is not None:
            return io.BufferedReader(_Spooled(self.spool))
        if isinstance(self.path, Url):
            return _open_object(self.path)
        try:
            return io.BufferedReader(io.FileIO(os.fspath(self.path)))
        except OSError as error:
            if error.errno in OF_THE_PATH:
                raise ManifestError(f"{self.path} cannot be read ({error.strerror})") from error
            raise


def spooled_stdin() -> IO[bytes]:
    """Standard input up to its end, in a temporary file without a name: a manifest is read more than once.

    Raises:
        ManifestError: there is no standard input.
        OSError: the temporary folder is full.
    """
    if sys.stdin is None:
        raise ManifestError("standard input is closed: give the manifest as a file")
    spool = tempfile.TemporaryFile()  # noqa: SIM115 (it is open as long as the manifest is)
    shutil.copyfileobj(sys.stdin.buffer, spool)
    spool.flush()
    return spool


def _open_object(path: Url) -> io.BufferedReader:
    from memscan.scanner.objects.client import objects_at
    from memscan.scanner.objects.stream import open_object

    try:
        return open_object(objects_at(path.top), path.key)
    except (FileNotFoundError, PermissionError) as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror})") from error


class _Spooled(Ranged):
    """A reader with a position of its own over a file that others read too."""

    def __init__(self, spool: IO[bytes]) -> None:
        super().__init__(os.fstat(spool.fileno()).st_size)
        self._spool = spool

    def content(self, start: int, stop: int) -> bytes:
        return os.pread(self._spool.fileno(), stop - start, start)
