"""Where results are kept: by name, each whole or not there at all, and nothing is ever deleted.

The protocol asks for no more than an object store can do: it has no rename, no links and no folders of its own.
"""

import collections
import contextlib
import errno
import os
import secrets
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

from memscan.scanner.place import Place
from memscan.scanner.results.layout import DAMAGED, scratch

_FLUSHED_AT_ONCE = 16
_REFUSES_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


class Together(Protocol):
    """Files that are written one by one and made durable together."""

    def write(self, name: str, content: bytes) -> None:
        """Add a file."""


class Store(Protocol):
    """A set of named files. Names are relative and have slashes; those that begin alike lie together.

    `path` is where they lie, and `at_once` how many are best read at a time. Every method raises OSError, with its
    number, where the disk or the network fails.
    """

    @property
    def path(self) -> Place: ...
    @property
    def at_once(self) -> int: ...

    def names(self, prefix: str) -> Iterator[str]:
        """The names that begin with `prefix`, sorted; those of files that are being written are not among them."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """The sizes in bytes of the files whose names begin with `prefix`, without opening any."""

    def open(self, name: str) -> IO[bytes]:
        """A file, to be read in ranges; raises FileNotFoundError if there is none."""

    def writing(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A stream whose content becomes the file when the block ends, and vanishes if it fails."""

    def together(self) -> AbstractContextManager[Together]:
        """Files, each whole or not there at all, that are there for good when the block ends."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a file if there is none of its name; of several who try at once, one is told True."""

    def publish(self, name: str, content: bytes) -> None:
        """Replace a small file that may be lost; who reads it meanwhile sees the old one or the new one, whole."""

    def set_aside(self, name: str) -> str:
        """Move a file to where nobody takes it for what its name says; returns its new name."""

    def retract(self, name: str) -> None:
        """Take an empty file back, if it is there; what is not empty is set aside."""

    def prepare(self) -> str | None:
        """Make ready for writing, and clear what dead writers left half written; says what the place cannot promise."""

    def lock_file(self, name: str) -> Path | None:
        """A file of this name that can be locked; None where nothing can."""


class LocalStore:
    """A store in a folder of a file system: written aside, flushed, renamed, and the rename is flushed.

    Args:
        path: the folder; it is made when something is written.
        aside: name of the folder in it for files that are being written. Their own names hold machine, process and a
            random part, so that nobody writes to another's, whether locks work or not.
    """

    def __init__(self, path: Path, aside: str = scratch("0-of-1")) -> None:
        self.path = path
        self.at_once = 1
        self._aside = path / aside
        self._began = time.time()

    def names(self, prefix: str) -> Iterator[str]:
        """As in `Store`."""
        top = self.path / prefix.rpartition("/")[0]
        for folder, folders, files in os.walk(top, onerror=_unless_missing):
            folders.sort()
            for file in sorted(files):
                name = (Path(folder) / file).relative_to(self.path).as_posix()
                if name.startswith(prefix):
                    yield name

    def sizes(self, prefix: str) -> dict[str, int]:
        """As in `Store`."""
        found = {}
        for name in self.names(prefix):
            with contextlib.suppress(FileNotFoundError):
                found[name] = (self.path / name).stat().st_size
        return found

    def open(self, name: str) -> IO[bytes]:
        """As in `Store`."""
        try:
            return (self.path / name).open("rb")
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args, str(self.path / name)) from error

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """As in `Store`."""
        final = self.path / name
        temporary = self._temporary(final)
        try:
            with temporary.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            _make_folder(final.parent)
            temporary.replace(final)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(final.parent)

    @contextlib.contextmanager
    def together(self) -> Iterator["_Together"]:
        """As in `Store`."""
        pending: dict[Path, Path] = {}
        try:
            yield _Together(self, pending)
            with ThreadPoolExecutor(_FLUSHED_AT_ONCE) as threads:  # a file system joins flushes that wait for it
                collections.deque(threads.map(_sync_file, pending), maxlen=0)
            for folder in sorted({final.parent for final in pending.values()}):
                _make_folder(folder)
            for temporary, final in pending.items():
                temporary.replace(final)
        except BaseException:
            for temporary in pending:
                temporary.unlink(missing_ok=True)
            raise
        for folder in sorted({final.parent for final in pending.values()}):
            _sync_folder(folder)

    def create(self, name: str, content: bytes) -> bool:
        """As in `Store`; a file system without hard links only looks before it writes."""
        final = self.path / name
        temporary = self._temporary(final)
        try:
            temporary.write_bytes(content)
            _sync_file(temporary)
            _make_folder(final.parent)
            if not _place(temporary, final):
                return False
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(final.parent)
        return True

    def publish(self, name: str, content: bytes) -> None:
        """As in `Store`: nothing is flushed."""
        temporary = self._temporary(self.path / name)
        try:
            temporary.write_bytes(content)
            _make_folder((self.path / name).parent)
            os.replace(temporary, self.path / name)  # noqa: PTH105 - not one of the renames that a commit is made of
        finally:
            temporary.unlink(missing_ok=True)

    def set_aside(self, name: str) -> str:
        """As in `Store`."""
        aside = f"{DAMAGED}{name}-{secrets.token_hex(4)}"
        target = self.path / aside
        _make_folder(target.parent)
        (self.path / name).rename(target)
        _sync_folder(target.parent)
        _sync_folder((self.path / name).parent)
        return aside

    def retract(self, name: str) -> None:
        """As in `Store`."""
        file = self.path / name
        try:
            size = file.stat().st_size
        except FileNotFoundError:
            return
        if size:
            self.set_aside(name)
            return
        file.unlink(missing_ok=True)
        _sync_folder(file.parent)

    def prepare(self) -> str | None:
        """As in `Store`: make the folder for files that are being written, and clear it of those of dead writers."""
        _make_folder(self._aside)
        for file in self._aside.iterdir():
            if _is_orphan(file, self._began):
                file.unlink(missing_ok=True)
        return None

    def lock_file(self, name: str) -> Path | None:
        """As in `Store`."""
        return self.path / name

    def _temporary(self, final: Path) -> Path:
        _make_folder(self._aside)
        return self._aside / f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(8)}.{final.name}"


class _Together:
    def __init__(self, store: LocalStore, pending: dict[Path, Path]) -> None:
        self._store = store
        self._pending = pending

    def write(self, name: str, content: bytes) -> None:
        final = self._store.path / name
        temporary = self._store._temporary(final)
        self._pending[temporary] = final
        temporary.write_bytes(content)


def _place(temporary: Path, final: Path) -> bool:
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if final.exists():
            return False
        temporary.replace(final)
    return True


def _is_orphan(file: Path, began: float) -> bool:
    """Whether a temporary file was left by a process of this machine that is dead, before this run `began`."""
    words = file.name.removeprefix(f"{socket.gethostname()}.").split(".")
    if not file.name.startswith(f"{socket.gethostname()}.") or not words[0].isdecimal() or len(words) < 3:
        return False
    try:
        os.kill(int(words[0]), 0)
    except ProcessLookupError:
        with contextlib.suppress(FileNotFoundError):
            return file.stat().st_mtime < began
    except (PermissionError, OverflowError):
        pass
    return False


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each flushed into the one that holds it."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error
    _sync_folder(folder.parent)


def _sync_file(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Flush the names in a folder; some network file systems cannot, and keep them safe in their own way."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _REFUSES_SYNC:
            raise
    finally:
        os.close(descriptor)


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
