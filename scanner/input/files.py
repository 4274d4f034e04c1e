"""Which files a manifest is: those that are named, those of a folder, or those that a glob matches.

Files are taken in the order of their paths, so that the global row index depends neither on the file system nor on the
shell that expands a glob. What readers of data lakes leave out is left out here: names that begin with `.` or `_`; and
so are the output folders of memscan's own runs. A folder `name=value` on the way to a file is a column of it.
"""

import dataclasses
import functools
import glob
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from memscan.scanner.errors import ManifestError, UsageError
from memscan.scanner.input.formats import STDIN, SUFFIXES
from memscan.scanner.input.input_file import OF_THE_PATH
from memscan.scanner.place import Place, Url, is_url, place_of
from memscan.scanner.terminal import brief

_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_OF_A_RUN = {"results", "maps", "images"}
_LOOKED_AT = 10_000  # folders, for advice


@dataclasses.dataclass(frozen=True)
class Found:
    """The paths of a manifest's files, `STDIN` among them, and what is to be said of those left out."""

    paths: tuple[Place, ...]
    remarks: tuple[str, ...] = ()


def find_files(manifests: Sequence[str]) -> Found:
    """The files of a manifest, sorted; all of them exist and are regular files, or objects of an object store.

    Raises:
        ManifestError: there is nothing at one of `manifests`, or it is something else.
        EnvironmentFailed: one is in an object store, which cannot be spoken to.
    """
    paths: dict[Place, Place] = {}
    remarks: list[str] = []
    for manifest in manifests:
        what = _left_out_of_several(Path(manifest)) if len(manifests) > 1 and not is_url(manifest) else None
        if what is not None:
            remarks.append(f"left out: {manifest}, {what}")
            continue
        found = _find(manifest)
        remarks += found.remarks
        for path in found.paths:
            one = path if isinstance(path, Url) else path.absolute()
            if one in paths:
                remarks.append(f"{path} is named twice, and read once")
            paths.setdefault(one, path)
    if not paths:
        raise ManifestError("none of the files that are named is a manifest: all are hidden, or runs of memscan")
    if len({isinstance(path, Url) for path in paths}) > 1:
        raise ManifestError("a manifest is on this machine or in an object store, but both are named: name one")
    return Found(tuple(sorted(paths.values())), tuple(remarks))


def partitions_of(path: Place) -> Mapping[str, str | None]:
    """The columns that the folders on the way to a file are, as Hive names them; their values are text."""
    named = (part.partition("=") for part in path.parent.parts)
    return {
        unquote(name): None if value == _NULL_PARTITION else unquote(value)
        for name, is_one, value in named
        if is_one and name
    }


def is_run(folder: Path) -> bool:
    """Whether a folder is the output folder of a run."""
    return _kind(folder / "_memscan") == "folder"


def _left_out_of_several(path: Path) -> str | None:
    """Why something is left out where a shell may have named it, which expands `*` to whatever there is."""
    if _is_hidden(path.name) and str(path) != str(STDIN):
        return "hidden"
    return "a run of memscan" if is_run(path) else None


def _find(manifest: str) -> Found:
    if not manifest:
        raise ManifestError("the name of a manifest is empty")
    if manifest == str(STDIN):
        return Found((STDIN,))
    try:
        path = place_of(manifest) if is_url(manifest) else Path(manifest)
    except UsageError as error:
        raise ManifestError(str(error)) from error
    if isinstance(path, Url):
        from memscan.scanner.input.remote_files import find_objects

        return Found(find_objects(path))
    match _kind(path):
        case "file":
            return Found((path,))
        case "folder":
            return _in_folder(path)
        case "other":
            raise ManifestError(f"{manifest} is neither a file nor a folder: pipe it, and say -")
    if not glob.has_magic(manifest):
        raise ManifestError(f"no such manifest: {manifest}")
    return _matching(str(path))


def _in_folder(folder: Path) -> Found:
    files = [file for file in _regular(folder.glob("*.parquet")) if not _is_hidden(file.name)]
    below = next(_below(folder), None)
    if files:
        more = () if below is None else (f"left out: files in folders of {folder}; '{folder}/**/*.parquet' takes them",)
        return Found(tuple(files), more)
    if is_run(folder):
        raise ManifestError(f"{folder} is the output folder of a run, and no manifest")
    suffix = below.suffix if below else next(_suffixes_in(folder), None)
    if suffix is None:
        raise ManifestError(f"{folder} holds no .parquet files: name a file, or a glob such as '{folder}/**/*.csv'")
    pattern = f"{folder}/**/*{suffix}" if below else f"{folder}/*{suffix}"
    raise ManifestError(f"{folder} holds no .parquet files itself: say '{pattern}'")


def _below(folder: Path) -> Iterator[Path]:
    """Parquet files deeper in a folder, without those that a glob would leave out."""
    for seen, (here, folders, files) in enumerate(os.walk(folder)):
        if seen > _LOOKED_AT:
            return
        folders[:] = sorted(name for name in folders if not _is_hidden(name) and not is_run(Path(here) / name))
        if seen == 0 and is_run(folder):
            folders[:] = [name for name in folders if name not in _OF_A_RUN]
        if seen:
            yield from (Path(here) / name for name in files if name.endswith(".parquet") and not _is_hidden(name))


def _suffixes_in(folder: Path) -> Iterator[str]:
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise ManifestError(f"{folder} cannot be read ({error.strerror})") from error
    return (file.suffix for file in files if file.suffix in SUFFIXES and not _is_hidden(file.name))


def _regular(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        kind = _kind(path)
        if kind is None and path.is_symlink():
            raise ManifestError(f"{path} is a link to nothing: mend it, or remove it")
        if kind == "file":
            yield path


def _matching(manifest: str) -> Found:
    root, pattern = _split(Path(manifest))
    if pattern is None:
        raise ManifestError(f"no such manifest: {manifest}")
    try:
        matches = list(_regular(root.glob(pattern)))
    except (ValueError, NotImplementedError, re.error) as error:
        raise ManifestError(f"{manifest} is no glob ({error})") from error
    asked = {part[:1] for part in Path(pattern).parts if part != ".."}
    is_known_run = functools.cache(is_run)
    files = [file for file in matches if not _is_left_out(root, file.relative_to(root), asked, is_known_run)]
    left = f"{len(matches) - len(files)} left out, hidden or of memscan's own runs"
    if not files:
        raise ManifestError(f"no file matches {manifest}{f' ({left})' if matches else ''}")
    return Found(tuple(files), (f"{manifest}: {left}",) if len(files) < len(matches) else ())


def _split(path: Path) -> tuple[Path, str | None]:
    """The folder where a glob begins and its pattern; a part that exists as it is written is no pattern."""
    root = Path(path.anchor)
    parts = path.parts[1:] if path.anchor else path.parts
    for place, part in enumerate(parts):
        if glob.has_magic(part) and _kind(root / part) is None:
            return root, str(Path(*parts[place:]))
        root /= part
    return root, None


def _is_left_out(root: Path, file: Path, asked: set[str], is_known_run: Callable[[Path], bool]) -> bool:
    """Whether a glob leaves out the match `file`, relative to `root`; `asked` are the first characters of its parts."""
    if any(_is_hidden(part) and part[:1] not in asked for part in file.parts):
        return True
    if len(file.parts) > 1 and file.parts[0] in _OF_A_RUN and is_known_run(root):
        return True
    return any(is_known_run(root / folder) for folder in file.parents if folder != Path())


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _kind(path: Path) -> str | None:
    """`"file"`, `"folder"`, `"other"`, or None where there is nothing.

    Raises:
        ManifestError: this cannot be told.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        if error.errno in OF_THE_PATH:
            raise ManifestError(f"{brief(str(path))} cannot be read ({error.strerror})") from error
        raise
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"
