"""An object as a stream that is read in ranges, all of one version of it."""

import errno
import io

from memscan.scanner.objects.client import Objects
from memscan.scanner.ranged import Ranged

_BLOCK = 1 << 20
"""Bytes of a request: a request takes as long as the transfer of about so many."""


def open_object(objects: Objects, name: str, block: int = _BLOCK) -> io.BufferedReader:
    """Open an object for reading.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be reached; of a read, ESTALE: it was replaced since it was opened.
    """
    return io.BufferedReader(_Ranges(objects, name), block)


class _Ranges(Ranged):
    def __init__(self, objects: Objects, name: str) -> None:
        size, self._version = objects.size(name)
        super().__init__(size)
        self._objects, self._name = objects, name

    def content(self, start: int, stop: int) -> bytes:
        try:
            return self._objects.read(self._name, start, stop, self._version)
        except FileExistsError as error:
            raise OSError(errno.ESTALE, "it was replaced while it was read", error.filename) from None
