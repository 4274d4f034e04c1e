"""Which files a manifest in an object store is: one object, those of a folder, or those that a glob matches.

As of files on a disk, names that begin with `.` or `_` are left out, and so are memscan's own runs; `**` stands for any
folders. An object store has no folders: those are ones by their keys.
"""

import glob
import re
from collections.abc import Iterable

from memscan.scanner.errors import ManifestError
from memscan.scanner.objects.client import Objects, objects_at
from memscan.scanner.place import Url

_OF_A_RUN = "_memscan"


def find_objects(manifest: Url) -> tuple[Url, ...]:
    """The objects that `manifest` names, in the order of their keys; all of them exist.

    Raises:
        ManifestError: there is none.
        EnvironmentFailed: the object store cannot be spoken to.
        OSError: it failed.
    """
    try:
        return _found(objects_at(manifest.top), manifest)
    except (FileNotFoundError, PermissionError) as error:
        raise ManifestError(f"{manifest} cannot be read ({error.strerror})") from error


def _found(objects: Objects, manifest: Url) -> tuple[Url, ...]:
    if manifest.key and _is_object(objects, manifest.key):
        return (manifest,)
    if glob.has_magic(manifest.key):
        return _matching(objects, manifest)
    prefix = f"{manifest.key}/" if manifest.key else ""
    keys = list(objects.names(prefix))
    if any(key.startswith(f"{prefix}{_OF_A_RUN}/") for key in keys):
        raise ManifestError(f"{manifest} is the output folder of a run, and no manifest")
    found = [key for key in keys if "/" not in key[len(prefix) :] and key.endswith(".parquet") and _is_shown(key)]
    if not found:
        there = f"holds no .parquet files itself: say '{manifest}/**/*.parquet'" if keys else "is not there"
        raise ManifestError(f"{manifest} {there}")
    return _urls(manifest, found)


def _is_object(objects: Objects, key: str) -> bool:
    try:
        objects.size(key)
    except FileNotFoundError:
        return False
    return True


def _matching(objects: Objects, manifest: Url) -> tuple[Url, ...]:
    steady = manifest.key[: re.search(r"[*?\[]", manifest.key).start()].rpartition("/")[0]  # type: ignore[union-attr]
    keys = list(objects.names(f"{steady}/" if steady else ""))
    runs = {key.partition(f"{_OF_A_RUN}/")[0] for key in keys if f"{_OF_A_RUN}/" in key}
    pattern = re.compile(_as_regular(manifest.parts), re.DOTALL)
    found = [
        key
        for key in keys
        if pattern.fullmatch(key) and _is_shown(key[len(steady) :]) and not any(key.startswith(run) for run in runs)
    ]
    if not found:
        raise ManifestError(f"no object matches {manifest}")
    return _urls(manifest, found)


def _as_regular(parts: Iterable[str]) -> str:
    """A glob as a regular expression: `*` and `?` stay within a part, and `**/` is any number of parts."""
    said = []
    for part in parts:
        if part == "**":
            said.append("(?:[^/]+/)*")
            continue
        pieces = re.split(r"(\*|\?|\[[^\]]+\])", part)
        said.append("".join(_piece(piece) for piece in pieces) + "/")
    return "".join(said).removesuffix("/")


def _piece(piece: str) -> str:
    if piece in ("*", "?"):
        return "[^/]*" if piece == "*" else "[^/]"
    if len(piece) > 2 and piece.startswith("[") and piece.endswith("]"):
        negated, inside = piece[1] == "!", piece[1:-1].removeprefix("!")
        return f"[{'^' if negated else ''}{re.escape(inside).replace(re.escape('-'), '-')}]"
    return re.escape(piece)


def _is_shown(key: str) -> bool:
    parts = [part for part in key.split("/") if part]
    return not any(part.startswith(".") or (part.startswith("_") and "=" not in part) for part in parts)


def _urls(manifest: Url, keys: Iterable[str]) -> tuple[Url, ...]:
    return tuple(manifest.top / key for key in sorted(keys))
