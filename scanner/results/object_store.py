"""A store in an object store: a file is put whole when its block ends, and appears all at once.

There is no rename and no lock. Two workers on the same part put the same content, so it matters to none who was last.
What must be there once, `create`, is put with If-None-Match, which some stores ignore: `prepare` finds out.
"""

import collections
import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

from memscan.scanner.objects.client import Objects
from memscan.scanner.objects.stream import open_object
from memscan.scanner.place import Url
from memscan.scanner.results.layout import DAMAGED, PROBE

_AT_ONCE = 16
_IN_MEMORY = 16 << 20
_TRIES = 3
_WRITER = "memscanwriter"
"""Attribute that says who created an object: an answer can be lost although the object is there."""


class ObjectStore:
    """A store of the objects below `path`, see `Store`."""

    def __init__(self, path: Url, objects: Objects | None = None) -> None:
        self.path = path
        self.at_once = _AT_ONCE
        self._objects = objects or Objects(path)
        self._keeps_first = True

    def names(self, prefix: str) -> Iterator[str]:
        """As in `Store`."""
        yield from sorted(self._objects.names(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """As in `Store`."""
        return dict(self._objects.sizes(prefix))

    def publish(self, name: str, content: bytes) -> None:
        """As in `Store`."""
        self._objects.write(name, content)

    def open(self, name: str) -> IO[bytes]:
        """As in `Store`; the stream reads one version of the object, or fails."""
        return open_object(self._objects, name)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """As in `Store`; until the block ends, the content is kept in memory or in a temporary file of this machine."""
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
            yield spool
            spool.seek(0)
            self._objects.write(name, spool)

    @contextlib.contextmanager
    def together(self) -> Iterator["_Together"]:
        """As in `Store`; what was put before a block failed stays, named by no result, and is set aside in the end."""
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            together = _Together(self._objects, threads)
            yield together
            together.finish()

    def create(self, name: str, content: bytes) -> bool:
        """As in `Store`; a store that ignores If-None-Match is asked before, which leaves a gap."""
        if not self._keeps_first:
            if self._writer(name) is not None:
                return False
            self._objects.write(name, content, attributes={_WRITER: "-"})
            return True
        own = secrets.token_hex(8)
        for last in (*[False] * (_TRIES - 1), True):
            try:
                self._objects.write(name, content, absent=True, attributes={_WRITER: own})
                return True
            except OSError:  # also FileExistsError, which is said of a conflict with another try
                writer = self._writer(name)  # it may be ours: the answer to a first try was lost
                if writer is not None:
                    return writer == own
                if last:
                    raise
        raise AssertionError("the last try returns or raises")

    def set_aside(self, name: str) -> str:
        """As in `Store`: copied, and then taken away."""
        aside = f"{DAMAGED}{name}-{secrets.token_hex(4)}"
        self._objects.copy(name, aside)
        self._objects.remove(name)
        return aside

    def retract(self, name: str) -> None:
        """As in `Store`."""
        try:
            size, _ = self._objects.size(name)
        except FileNotFoundError:
            return
        if size:
            self.set_aside(name)
        else:
            self._objects.remove(name)

    def prepare(self) -> str | None:
        """As in `Store`: two probes of one name tell whether the store keeps the first of two objects."""
        name = f"{PROBE}{secrets.token_hex(8)}"
        try:
            self._objects.write(name, b"first", absent=True)
            with contextlib.suppress(FileExistsError):
                self._objects.write(name, b"second", absent=True)
                self._keeps_first = False
        except PermissionError:
            raise
        except OSError:
            self._objects.write(name, b"first")  # raises where it was no fault of If-None-Match
            self._keeps_first = False
        finally:
            with contextlib.suppress(OSError):
                self._objects.remove(name)
        if self._keeps_first:
            return None
        return f"{self.path} does not keep the first of two objects (If-None-Match): start a new run there once only"

    def lock_file(self, name: str) -> Path | None:
        """As in `Store`: there is none."""
        return None

    def _writer(self, name: str) -> str | None:
        """Who created an object; None where there is none."""
        try:
            return self._objects.attributes(name).get(_WRITER, "")
        except FileNotFoundError:
            return None


class _Together:
    def __init__(self, objects: Objects, threads: ThreadPoolExecutor) -> None:
        self._objects, self._threads = objects, threads
        self._pending: collections.deque[Future[None]] = collections.deque()

    def write(self, name: str, content: bytes) -> None:
        while len(self._pending) >= 2 * _AT_ONCE:
            self._pending.popleft().result()
        self._pending.append(self._threads.submit(self._objects.write, name, content))

    def finish(self) -> None:
        while self._pending:
            self._pending.popleft().result()
