"""A power cut: of a file system, that alone survives which was flushed. `kill -9` is none: it leaves the page cache.

A file keeps the bytes that it had when it was last flushed, and none if it never was; a folder the names that it had.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Any


class Cut(BaseException):
    """The power is gone."""


class PowerCut:
    """While it is entered, every flush is noted, and the power goes before the flush number `at`.

    Args:
        top: the folder that is there, with its own name, whatever happens.
    """

    def __init__(self, top: Path, at: int) -> None:
        self._top, self._at = top, at
        self._files: dict[int, bytes] = {}
        self._folders: dict[Path, dict[str, int]] = {}
        self._kept: list[int] = []
        self._flush = os.fsync
        self.flushes = 0

    def __enter__(self) -> "PowerCut":
        os.fsync = self._fsync
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.fsync = self._flush
        for descriptor in self._kept:
            os.close(descriptor)

    def _fsync(self, descriptor: Any) -> None:
        self.flushes += 1
        if self.flushes >= self._at:
            raise Cut
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            self._folders[path] = {entry.name: entry.inode() for entry in os.scandir(path)}
            return
        self._kept.append(os.dup(descriptor))  # so that no later file gets its number
        self._files[os.fstat(descriptor).st_ino] = path.read_bytes()

    def survivors(self, to: Path) -> None:
        """Write what is left of `top` to the new folder `to`."""
        to.mkdir()
        self._write(self._top, to)

    def _write(self, folder: Path, to: Path) -> None:
        for name, inode in self._folders.get(folder, {}).items():
            if folder / name in self._folders or (folder / name).is_dir():
                (to / name).mkdir()
                self._write(folder / name, to / name)
            else:
                (to / name).write_bytes(self._files.get(inode, b""))
