"""The folder of plans: private, because a plan is executable code, and outside every bundle.

    NAME.plan   a plan
    NAME.json   its key, its SHA-256 and its interface; written last
    NAME.lock   held by the process that builds it

A plan is used only if nobody but its owner or root could have written it, its key serves, and its bytes have the
recorded digest: those that were hashed are those that are loaded. Everything else is as if it were not there.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from memscan.scanner.errors import EnvironmentFailed
from memscan.scanner.runtimes.tensorrt.interface import Interface
from memscan.scanner.runtimes.tensorrt.key import PlanKey
from memscan.scanner.user_cache import user_cache

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclasses.dataclass(frozen=True)
class Plan:
    """A plan whose digest was checked; `content` is what TensorRT loads."""

    key: PlanKey
    interface: Interface
    content: memoryview
    sha256: str


@dataclasses.dataclass(frozen=True)
class _Record:
    key: PlanKey
    interface: Interface
    sha256: str

    def to_json(self) -> str:
        return json.dumps(
            {"key": self.key.to_json(), "sha256": self.sha256, "interface": self.interface.to_json()}, indent=1
        )

    @classmethod
    def from_json(cls, text: bytes) -> "_Record":
        record = json.loads(text)
        return cls(PlanKey.from_json(record["key"]), Interface.from_json(record["interface"]), record["sha256"])


def default_folder() -> Path:
    """`plans` in the user's cache."""
    return user_cache("plans")


class PlanCache:
    """The plans in one folder, which is made for this user alone if it is not there.

    Raises:
        EnvironmentFailed: the folder belongs to somebody else, or others may write to it.
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _demand_private(folder)

    def find(self, wish: PlanKey) -> Plan | None:
        """The plan for the smallest sufficient batch, if there is one whose content is what was written."""
        records = (self._read_record(path) for path in sorted(self._folder.glob("*.json")))
        serving = [record for record in records if record and record.key.serves(wish)]
        for record in sorted(serving, key=lambda record: (record.key.batch_size, len(record.key.compute_capabilities))):
            content = self._read_plan(record)
            if content is not None:
                return Plan(record.key, record.interface, memoryview(content), record.sha256)
        return None

    def store(self, key: PlanKey, interface: Interface, content: memoryview) -> Plan:
        """Keep a plan, under the lock of its key's digest; a process that dies leaves the old one or none."""
        name = key.digest()
        record = _Record(key, interface, hashlib.sha256(content).hexdigest())
        self.write(f"{name}.plan", content)
        self.write(f"{name}.json", record.to_json().encode())
        return Plan(key, interface, content, record.sha256)

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file aside, under a name of this process, flush it to the disk and rename it."""
        temporary = self._folder / f"{name}.{os.getpid()}-{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self._folder / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def read(self, name: str) -> bytes | None:
        """The content of a file, if it is there."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def locked(self, name: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Let one process at a time into the block; `on_wait` is called if another one is in it."""
        lock = FileLock(self._folder / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _read_record(self, path: Path) -> _Record | None:
        try:
            return _Record.from_json(path.read_bytes())
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _read_plan(self, record: _Record) -> bytes | None:
        content = self.read(f"{record.key.digest()}.plan")
        if content is None or hashlib.sha256(content).hexdigest() != record.sha256:
            return None
        return content


def _demand_private(folder: Path) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise EnvironmentFailed(f"{folder} is no folder of its own: plans are code, so choose another --cache")
    if status.st_uid not in (os.geteuid(), 0):
        raise EnvironmentFailed(
            f"{folder} belongs to another user (uid {status.st_uid}): plans are code, so choose another --cache"
        )
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise EnvironmentFailed(f"{folder} can be written by others: plans are code, so run chmod go-w {folder}")
