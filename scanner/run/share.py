"""A worker's share of a run: some of its parts, with a lock and temporary files of its own.

A part is a function of bundle, measurement and rows alone, and is committed whole, so that two workers on the same part
harm nobody: the lock spares their time, and is not needed to be right. Who finds all parts there marks the success.
"""

import contextlib
import dataclasses
import errno
from collections.abc import Callable, Iterator

from filelock import FileLock, Timeout

from memscan.scanner.errors import EnvironmentFailed, UsageError
from memscan.scanner.results import layout
from memscan.scanner.results.store import Store

_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


@dataclasses.dataclass(frozen=True)
class Share:
    """The share `index`, from 0, of `of` equal ones.

    Raises:
        UsageError: there is no such share.
    """

    index: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise UsageError(f"share {self.index} of {self.of}: shares are counted from 0 to {self.of - 1}")

    @property
    def name(self) -> str:
        return f"{self.index}-of-{self.of}"

    def parts(self, count: int) -> range:
        """Numbers of the share's parts, of `count` in all: neighbours, so that their rows are read in one go."""
        return range(self.index * count // self.of, (self.index + 1) * count // self.of)


WHOLE = Share()
"""All parts: the share of a run that has one worker."""


@contextlib.contextmanager
def claimed(store: Store, share: Share, note: Callable[[str], None]) -> Iterator[None]:
    """Make the output folder, keep other processes from the same share, and clear what dead ones left half written.

    Raises:
        UsageError: the folder cannot be written.
        EnvironmentFailed: another process works on the share.
    """
    file = store.lock_file(layout.lock(share.name))
    lock = None if file is None else FileLock(file)
    try:
        remark = store.prepare()
        if remark is not None:
            note(remark)
        try:
            if lock is not None:
                lock.acquire(timeout=0)
        except Timeout:
            raise EnvironmentFailed(
                f"another memscan is writing to {store.path}: wait until it ends, or choose another --out"
            ) from None
        except (OSError, NotImplementedError) as error:
            if not isinstance(error, NotImplementedError) and error.errno not in _NO_LOCKS:
                raise
            note(f"{store.path} is on a file system without locks: see to it that nobody else works on this share")
    except OSError as error:
        if error.errno in _NOT_WRITABLE:
            raise UsageError(f"cannot write to {store.path} ({error.strerror}): choose another --out") from error
        raise
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
