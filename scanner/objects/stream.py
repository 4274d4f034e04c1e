"""An object as a stream that is read in ranges, all of one version of it."""

import errno
import io
import os

from memscan.scanner.objects.client import Objects

_BLOCK = 1 << 20
"""Bytes of a request: a request takes as long as the transfer of about so many."""


def open_object(objects: Objects, name: str, block: int = _BLOCK) -> io.BufferedReader:
    """Open an object for reading.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be reached; of a read, ESTALE: it was replaced since it was opened.
    """
    return io.BufferedReader(_Ranges(objects, name), block)


class _Ranges(io.RawIOBase):
    def __init__(self, objects: Objects, name: str) -> None:
        self._objects, self._name = objects, name
        self._size, self._version = objects.size(name)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        stop = min(self._place + len(buffer), self._size)
        if stop <= self._place:
            return 0
        try:
            content = self._objects.read(self._name, self._place, stop, self._version)
        except FileExistsError as error:
            raise OSError(errno.ESTALE, "it was replaced while it was read", error.filename) from None
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)
