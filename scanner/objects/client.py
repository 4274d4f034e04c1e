"""The objects of one place in an object store, by obstore (the Rust crate object_store), which alone knows protocols.

Credentials, region and endpoint come from the environment, under the names that each vendor's own tools use. obstore is
imported when the first object store is named, never in a scan of local files. Its errors become OSErrors whose text has
no headers, bodies or queries: secrets can be there.
"""

import contextlib
import datetime
import errno
import functools
import os
import re
from collections.abc import Iterator
from typing import IO, Any

from memscan.scanner.errors import EnvironmentFailed, first_line
from memscan.scanner.place import Url, redacted

REMOTE = getattr(errno, "EREMOTEIO", errno.EIO)
"""Number of errors of an object store that are none of a file's; EREMOTEIO where the system knows it."""

_ALONE = 10  # tries
_PATIENCE = datetime.timedelta(seconds=120)


class Objects:
    """The objects of a place, named relative to it.

    Every method raises FileNotFoundError, PermissionError, FileExistsError (a precondition failed) or another OSError.

    Args:
        place: of the objects; `Url.top` for all of a bucket.
        client: obstore's, in place of the one that the environment describes.

    Raises:
        EnvironmentFailed: obstore is not installed, or the environment describes no client.
    """

    def __init__(self, place: Url, client: Any | None = None) -> None:
        self.place = place
        self._library, self._errors = _import()
        self._client = client if client is not None else _client(place)

    def size(self, name: str) -> tuple[int, str | None]:
        """Bytes of an object, and its version as far as the store tells it."""
        with self._told(name):
            found = self._library.head(self._client, name)
        return found["size"], found["e_tag"]

    def read(self, name: str, start: int, stop: int, version: str | None = None) -> bytes:
        """Bytes from `start` to before `stop`; FileExistsError says that the object is no longer this version."""
        options: dict[str, Any] = {"range": (start, stop)}
        if version is not None:
            options["if_match"] = version
        with self._told(name):
            return bytes(self._library.get(self._client, name, options=options).bytes())

    def attributes(self, name: str) -> dict[str, str]:
        """What was said of an object when it was written."""
        with self._told(name):
            return dict(self._library.get(self._client, name).attributes)

    def write(
        self, name: str, content: bytes | IO[bytes], *, absent: bool = False, attributes: dict[str, str] | None = None
    ) -> None:
        """Put a whole object, in one request or in a multipart upload that is completed last.

        Args:
            absent: only where there is none of its name: else FileExistsError, if the store honours that.
            attributes: what is said of it.
        """
        with self._told(name):
            mode = {"mode": "create"} if absent else {}
            self._library.put(self._client, name, content, attributes=attributes, **mode)

    def copy(self, name: str, target: str) -> None:
        """Copy an object within the store."""
        with self._told(name):
            self._library.copy(self._client, name, target)

    def remove(self, name: str) -> None:
        """Delete an object; nothing happens where there is none."""
        with self._told(name), contextlib.suppress(FileNotFoundError):
            self._library.delete(self._client, name)

    def names(self, prefix: str) -> Iterator[str]:
        """The names that begin with `prefix`, in no order."""
        return (name for name, _ in self.sizes(prefix))

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """The names that begin with `prefix`, in no order, with the sizes in bytes."""
        folder = prefix.rpartition("/")[0]
        with self._told(prefix):
            for chunk in self._library.list(self._client, prefix=folder or None):
                for found in chunk:
                    if found["path"].startswith(prefix):
                        yield found["path"], found["size"]

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        shown = str(self.place / name) if name else str(self.place)
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)}{_code(error)}", shown) from None
        except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), shown) from None
        except (self._errors.PermissionDeniedError, self._errors.UnauthenticatedError) as error:
            raise PermissionError(errno.EACCES, f"{os.strerror(errno.EACCES)}{_code(error)}", shown) from None
        except self._errors.BaseError as error:
            if "404 Not Found" in str(error):  # what obstore says of a listing of a bucket that is not there
                raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)}{_code(error)}", shown) from None
            raise OSError(REMOTE, _line(error), shown) from None


@functools.lru_cache(maxsize=32)
def objects_at(place: Url) -> Objects:
    """The objects of a place that are read again and again, by one client with its connections."""
    return Objects(place)


def _import() -> tuple[Any, Any]:
    try:
        import obstore
        import obstore.exceptions
    except ImportError as error:
        raise EnvironmentFailed(
            f"object stores need obstore ({first_line(error)}): pip install 'memscan[cloud]'"
        ) from error
    return obstore, obstore.exceptions


def _client(place: Url) -> Any:
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore, S3Store

    options: dict[str, Any] = {"retry_config": {"max_retries": _ALONE, "retry_timeout": _PATIENCE}}
    make = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[place.scheme]
    try:
        return make(place.bucket, prefix=place.key or None, **options)
    except BaseError as error:
        raise EnvironmentFailed(f"{place} cannot be reached as the environment describes it: {_line(error)}") from None


def _line(error: Exception) -> str:
    """The first line, up to where a server's answer begins."""
    return redacted(re.split(r":\s*<|\s*Debug source", first_line(error))[0])


def _code(error: Exception) -> str:
    """The server's own word for an error, such as NoSuchBucket, where it says one."""
    found = re.search(r"<Code>([A-Za-z]{1,60})</Code>", str(error))
    return f" ({found[1]})" if found else ""
