"""A file of a known size that is read in ranges, wherever they come from."""

import io
import os
from abc import abstractmethod


class Ranged(io.RawIOBase):
    """A reader with a position of its own.

    Args:
        size: in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._place = 0

    @abstractmethod
    def content(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to before `stop`, which lie within the file."""

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
        content = self.content(self._place, stop)
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)
