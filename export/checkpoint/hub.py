"""Where a checkpoint lies: a folder, or a hub's repository pinned by its commit and fetched without pickles."""

import re
from pathlib import Path
from typing import NamedTuple

from memscan.export.checkpoint.files import require_whole
from memscan.scanner.errors import ExportError, first_line

_HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


_CACHED = "models--"


class Location(NamedTuple):
    """A folder on this machine, its name or hub id, and the commit if it has one."""

    path: Path
    name: str
    revision: str | None


def locate(model: str, *, allow_unpinned: bool = False) -> Location:
    """Find the folder of `model`, or download it.

    A folder may be named by its `model_index.json`, by its `unet` or `transformer`, or by a repository's folder in a
    hub's cache.

    Args:
        allow_unpinned: take a hub id by a branch or a tag, or by none, and ask the hub for its commit of today.

    Raises:
        ExportError: there is none, its hub id is not pinned, or the download fails.
    """
    path = Path(model)
    require_whole(path)
    if path.name == "model_index.json" and path.is_file():
        path = path.parent
    if (path / "snapshots").is_dir() and path.name.startswith(_CACHED):
        return _cached(path)
    if path.is_dir() and not (path / path.resolve().name).is_dir() and path.resolve().name in ("unet", "transformer"):
        path = path.resolve().parent
    if path.is_dir():
        return Location(path, path.resolve().name, None)
    match = _HUB_ID.fullmatch(model)
    if match is None or path.is_absolute():
        raise ExportError(f"no folder {model}: give a diffusers folder, or a hub id as OWNER/NAME@COMMIT")
    name, revision = match["name"], match["revision"]
    if revision is None or not _COMMIT.fullmatch(revision):
        if not allow_unpinned:
            raise ExportError(
                f"no folder {model}; if it is a hub id, pin its revision by the 40 hex digits of a commit:"
                f" {name}@COMMIT, or take what there is today by --allow-unpinned"
            )
        revision = _commit(name, revision)
    return Location(_download(name, revision), name, revision)


def _cached(folder: Path) -> Location:
    """The snapshot of the main branch in `models--OWNER--NAME`, or the only one."""
    name = folder.name.removeprefix(_CACHED).replace("--", "/")
    branch = folder / "refs" / "main"
    snapshots = sorted(each.name for each in (folder / "snapshots").iterdir() if each.is_dir())
    commit = branch.read_text(encoding="utf-8").strip() if branch.is_file() else ""
    if commit not in snapshots:
        if len(snapshots) != 1:
            found = ", ".join(snapshots) or "none"
            raise ExportError(f"{folder} has no snapshot of its main branch; give one of its snapshots/: {found}")
        (commit,) = snapshots
    return Location(folder / "snapshots" / commit, name, commit)


def _commit(name: str, revision: str | None) -> str:
    """The commit that a branch or tag is at now; that of the main branch for None."""
    from huggingface_hub import HfApi

    try:
        commit = HfApi().model_info(name, revision=revision).sha
    except Exception as error:  # the hub's client raises errors of many libraries, httpx's among them
        raise ExportError(f"{name}@{revision or 'main'} cannot be found: {first_line(error)}") from error
    if commit is None or not _COMMIT.fullmatch(commit):
        raise ExportError(f"{name}@{revision or 'main'} has no commit, the hub says")
    return commit


def _download(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["model_index.json", "*/*.json", "*/*.txt", "*/*.safetensors"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises errors of many libraries, httpx's among them
        raise ExportError(f"{name}@{revision} cannot be downloaded: {first_line(error)}") from error
