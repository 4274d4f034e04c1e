"""Where something lies: a path of this machine, or the URL of an object store.

s3://BUCKET/KEY, gs://BUCKET/KEY, az://CONTAINER/KEY and file:///PATH are understood; any other URL is refused, before
it becomes a folder of the name `s3:`. A URL names a place and nothing else: credentials come from the environment, and
one that holds some is refused without showing them.
"""

import dataclasses
import re
from pathlib import Path
from urllib.parse import unquote

from memscan.scanner.errors import UsageError
from memscan.scanner.terminal import brief

SCHEMES = ("s3", "gs", "az")

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/(?P<rest>.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True, order=True)
class Url:
    """A place in an object store: the objects whose keys are `key`, or begin with it and a slash.

    It has what is asked of a `Path`: `name`, `suffix`, `parts` and `parent`, and `/` leads on.
    """

    scheme: str
    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    def __truediv__(self, name: str) -> "Url":
        return dataclasses.replace(self, key=f"{self.key}/{name}" if self.key else name)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.key.split("/")) if self.key else ()

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def parent(self) -> "Url":
        return dataclasses.replace(self, key=self.key.rpartition("/")[0])

    @property
    def top(self) -> "Url":
        """The whole bucket."""
        return dataclasses.replace(self, key="")


Place = Path | Url


def place_of(text: str | Place) -> Place:
    """The place that `text` names, also a URL whose second slash a `Path` has swallowed.

    Raises:
        UsageError: it is a URL of another kind, has no bucket, or says more than where something lies.
    """
    if isinstance(text, Url):
        return text
    found = _URL.match(str(text))
    if found is None:
        return Path(text)
    scheme, rest, shown = found["scheme"].lower(), found["rest"].removeprefix("/"), redacted(str(text))
    if scheme == "file":
        return _local(rest if found["rest"].startswith("/") else f"/{rest}", shown)
    if scheme not in SCHEMES:
        kinds = ", ".join(f"{one}://" for one in SCHEMES)
        raise UsageError(f"{shown} is a URL of a kind that is not supported: give a path, file://, {kinds}")
    bucket, _, key = rest.partition("/")
    if "@" in bucket or "?" in rest or "#" in bucket:
        raise UsageError(
            f"{shown} holds more than a bucket and a key: name the place alone, and give credentials in the environment"
        )
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"{shown} names no bucket: expected {scheme}://BUCKET/KEY")
    key = key.rstrip("/")
    if key and any(part in ("", ".", "..") for part in key.split("/")):
        raise UsageError(f"{shown} has a part that is empty, . or ..: expected {scheme}://BUCKET/KEY")
    return Url(scheme, bucket, key)


def is_url(text: str) -> bool:
    """Whether a text is a URL of any kind, with both slashes: what else has a colon may be a file's name."""
    return "://" in text and _URL.match(text) is not None


def redacted(text: str) -> str:
    """A text that can be shown: without what URLs in it say before an @ and after a ?, where secrets are."""
    return brief(re.sub(r"(://?)[^/\s]*@", r"\1***@", re.sub(r"\?[^\s]*", "?***", text)), 300)


def _local(rest: str, shown: str) -> Path:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise UsageError(f"{shown} is a file of another machine: expected file:///PATH")
    return Path(f"/{unquote(path)}")
