"""The output folder: where things are, who may write, and how a file appears in it whole or not at all.

    OUT/results/part-00000.parquet ...   the results; `_SUCCESS`, empty, is written last
    OUT/maps/part-00000.parquet ...      full maps, if asked for
    OUT/images/{row:08d}-{seed}.png      sampled images, if asked for
    OUT/_memscan/                        run record, lock, temporary files

A file is written under `_memscan/tmp`, flushed to the disk, and renamed; then the rename itself is flushed. So readers
of `OUT/results/*.parquet` never see a part of a file, whatever dies when.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from memscan.scanner.errors import EnvironmentFailed, ResumeRefused, UsageError

_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


class OutputFolder:
    """The layout of one output folder. Nothing is touched before `locked` is entered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results = path / "results"
        self.maps = path / "maps"
        self.images = path / "images"
        self.record = path / "_memscan" / "run.json"
        self._lock = path / "_memscan" / "lock"
        self._temporary = path / "_memscan" / "tmp"
        self._success = self.results / "_SUCCESS"

    def results_part(self, number: int) -> Path:
        """The results file of the part `number`."""
        return self.results / f"part-{number:05d}.parquet"

    def maps_part(self, number: int) -> Path:
        """The maps file of the part `number`."""
        return self.maps / f"part-{number:05d}.parquet"

    def image(self, row: int, seed: int) -> Path:
        """The image file of a (row, seed)."""
        return self.images / f"{row:08d}-{seed}.png"

    def parts(self) -> dict[int, Path]:
        """Result files by number, in order; they may be damaged.

        Raises:
            ResumeRefused: there are Parquet files among the results that no run has written.
        """
        found = {}
        for path in sorted(self.results.glob("*.parquet")):
            number = path.stem.removeprefix("part-")
            if not number.isdecimal() or path != self.results_part(int(number)):
                raise ResumeRefused(f"{path} is no file of a run, but would be read as one: move it away")
            found[int(number)] = path
        return dict(sorted(found.items()))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder, keep every other process from writing to it, and clear what dead ones left behind.

        Raises:
            UsageError: the folder cannot be written.
            EnvironmentFailed: another process is writing to it.
        """
        try:
            for folder in (self._temporary, self.results):
                folder.mkdir(parents=True, exist_ok=True)
            lock = self._lock.open("a")
        except OSError as error:
            if error.errno in _NOT_WRITABLE:
                raise UsageError(f"cannot write to {self.path} ({error.strerror}): choose another --out") from error
            raise
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EnvironmentFailed(
                    f"another memscan is writing to {self.path}: wait until it ends, or choose another --out"
                ) from None
            shutil.rmtree(self._temporary)
            self._temporary.mkdir()
            _sync_folder(self.path)
            yield

    @contextlib.contextmanager
    def writing(self, final: Path) -> Iterator[IO[bytes]]:
        """A stream whose content becomes the file `final` when the block ends, and vanishes if it fails."""
        final.parent.mkdir(exist_ok=True)
        temporary = self._temporary / f"{final.parent.name}-{final.name}"
        try:
            with temporary.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(final)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(final.parent)

    @property
    def complete(self) -> bool:
        """Whether the mark of a finished run is there."""
        return self._success.is_file()

    def mark_complete(self) -> None:
        """Say to readers that nothing is missing. The mark is empty: some read every file of the folder as data."""
        with self.writing(self._success):
            pass

    def unmark_complete(self) -> None:
        """Take the mark back, before something is done again."""
        self._success.unlink(missing_ok=True)
        _sync_folder(self.results)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
