"""Images that a row names by a path: regular files or objects of bounded size inside one folder, and nothing else.

A manifest may come from anybody, so a path in it is no promise: devices and pipes would hang, links and `..` would read
what was never meant to be scanned.
"""

import errno
import os
import re
import stat
from pathlib import Path

from memscan.scanner.errors import RowError
from memscan.scanner.input.input_file import OF_THE_PATH
from memscan.scanner.place import Place, Url
from memscan.scanner.terminal import brief

MAX_IMAGE = 1 << 28
"""Bytes that an encoded image may have."""

_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"))
_URL = re.compile(r"data:|[A-Za-z][A-Za-z0-9+.-]*://")


def read_image_file(path: str, root: Place) -> bytes:
    """The content of the image at `path`, relative to `root` or absolute, links resolved inside of `root`.

    Raises:
        RowError: nothing there, outside of `root`, no regular file, or larger than `MAX_IMAGE`.
        OSError: the disk failed.
    """
    shown = brief(path)
    if _URL.match(path):
        raise RowError(f"the image {shown} is a URL: store it as a file or as bytes")
    if "\0" in path:
        raise RowError(f"the image path {brief(repr(path))} is no path: embedded null byte")
    if isinstance(root, Url):
        return _read_object(path, root)
    try:
        root_real = os.path.realpath(root)
        real = os.path.realpath(Path(root_real) / path, strict=True)
        if os.path.commonpath([real, root_real]) != root_real:
            raise RowError(f"the image {shown} lies outside of {brief(str(root))}: --image-root names another folder")
        return _read_regular(real, shown)
    except UnicodeEncodeError:
        raise RowError(f"the image path {brief(repr(path))} is no path: it holds half a surrogate pair") from None
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise RowError(f"no such image: {shown}") from None
        if error.errno in OF_THE_PATH:
            raise RowError(f"the image {shown} cannot be read: {error.strerror}") from None
        raise


def _read_object(path: str, root: Url) -> bytes:
    from memscan.scanner.objects.client import objects_at

    shown = brief(path)
    parts = [part for part in path.split("/") if part != "."]
    if any(part in ("", "..") for part in parts):
        raise RowError(f"the image {shown} lies outside of {brief(str(root))}: name it relative to its manifest")
    objects, name = objects_at(root), "/".join(parts)
    try:
        size, version = objects.size(name)
        if size > MAX_IMAGE:
            raise RowError(f"the image {shown} has {size} bytes, more than {MAX_IMAGE}")
        return objects.read(name, 0, size, version) if size else b""
    except FileNotFoundError:
        raise RowError(f"no such image: {shown}") from None
    except PermissionError as error:
        raise RowError(f"the image {shown} cannot be read: {error.strerror}") from None


def _read_regular(real: str, shown: str) -> bytes:
    _check(Path(real).stat(), shown)  # before opening: to open a device can be an act
    with os.fdopen(os.open(real, _FLAGS), "rb") as stream:
        status = os.fstat(stream.fileno())
        _check(status, shown)
        content = stream.read(status.st_size + 1)
    if len(content) != status.st_size:
        raise RowError(f"the image {shown} has another size than its folder says")
    return content


def _check(status: os.stat_result, shown: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise RowError(f"the image {shown} cannot be read: Is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise RowError(f"the image {shown} is no regular file")
    if status.st_size > MAX_IMAGE:
        raise RowError(f"the image {shown} has {status.st_size} bytes, more than {MAX_IMAGE}")
