"""A bundle of an object store, fetched into a folder of this machine, which has one of each bundle by its digest."""

import hashlib
import secrets
from pathlib import Path
from typing import Any

from memscan.scanner import graph_names
from memscan.scanner.bundle_files import is_inside
from memscan.scanner.errors import BundleError
from memscan.scanner.objects.client import Objects
from memscan.scanner.objects.stream import open_object
from memscan.scanner.place import Url
from memscan.scanner.records import RecordError, parse_json, shown
from memscan.scanner.user_cache import user_cache

_LARGEST_RECORD = 64 << 20
_BLOCK = 8 << 20


def fetched_bundle(place: Url, folder: Path | None = None) -> Path:
    """The folder of the bundle at `place`; what of it is not there yet is fetched, and compared with its digest.

    Args:
        folder: of fetched bundles; None is `bundles` of the user's cache.

    Raises:
        BundleError: there is no bundle, it is malformed, or a file does not have its digest.
        EnvironmentFailed: the object store cannot be spoken to.
        OSError: it failed, or the disk did.
    """
    objects = Objects(place)
    try:
        with open_object(objects, graph_names.RECORD) as stream:
            raw = stream.read(_LARGEST_RECORD + 1)
    except FileNotFoundError as error:
        raise BundleError(
            f"no bundle at {place} ({error.strerror}): it has no {graph_names.RECORD}; copy a bundle there"
        ) from error
    digests = _digests(place, raw)
    kept = (folder or user_cache("bundles")) / hashlib.sha256(raw).hexdigest()
    for name, digest in digests.items():
        if not (kept / name).exists():
            _fetch(objects, name, digest, kept / name)
    if not (kept / graph_names.RECORD).exists():
        _place(raw, kept / graph_names.RECORD)
    return kept


def _digests(place: Url, raw: bytes) -> dict[str, str]:
    try:
        if len(raw) > _LARGEST_RECORD:
            raise RecordError(f"it has more than {_LARGEST_RECORD} bytes")
        value: Any = parse_json(raw)
        files = value.get("files") if isinstance(value, dict) else None
        if not isinstance(files, dict) or not files:
            raise RecordError(f"its list of files is {shown(files)}")
        for name, digest in files.items():
            if not is_inside(name) or name == graph_names.RECORD or not isinstance(digest, str):
                raise RecordError(f"its list of files has {shown(name)}: {shown(digest)}")
    except RecordError as error:
        raise BundleError(f"{place / graph_names.RECORD}: {error}: export the model again") from error
    return files


def _fetch(objects: Objects, name: str, digest: str, file: Path) -> None:
    found = hashlib.sha256()
    temporary = _temporary(file)
    try:
        try:
            stream = open_object(objects, name, _BLOCK)
        except FileNotFoundError as error:
            raise BundleError(f"{objects.place} is incomplete: {name} is missing; copy the bundle again") from error
        with stream, temporary.open("wb") as out:
            while block := stream.read(_BLOCK):
                found.update(block)
                out.write(block)
        if found.hexdigest() != digest:
            raise BundleError(
                f"{objects.place} was altered: {name} does not have the recorded digest; copy the bundle again"
            )
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _place(content: bytes, file: Path) -> None:
    temporary = _temporary(file)
    try:
        temporary.write_bytes(content)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(file: Path) -> Path:
    """A name beside a file, for who writes it now: two processes may fetch the same bundle."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.with_name(f".{file.name}.{secrets.token_hex(8)}")
