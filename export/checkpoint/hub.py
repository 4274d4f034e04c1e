"""Where a checkpoint lies: a folder, or a hub's repository pinned by its commit and fetched without pickles."""

import re
from pathlib import Path
from typing import NamedTuple

from memscan.scanner.errors import ExportError, first_line

_HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[0-9a-f]{40}))?")


class Location(NamedTuple):
    """A folder on this machine, its name or hub id, and the commit if it has one."""

    path: Path
    name: str
    revision: str | None


def locate(model: str) -> Location:
    """Find the folder of `model`, or download it.

    Raises:
        ExportError: there is none, its hub id is not pinned, or the download fails.
    """
    path = Path(model)
    if path.is_dir():
        return Location(path, path.resolve().name, None)
    match = _HUB_ID.fullmatch(model)
    if match is None or path.is_absolute():
        raise ExportError(f"no folder {model}: give a diffusers folder, or a hub id as OWNER/NAME@COMMIT")
    name, revision = match["name"], match["revision"]
    if revision is None:
        raise ExportError(
            f"no folder {model}; if it is a hub id, pin its revision by the 40 hex digits of a commit: {name}@COMMIT"
        )
    return Location(_download(name, revision), name, revision)


def _download(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["model_index.json", "*/*.json", "*/*.txt", "*/*.safetensors"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises errors of many libraries, httpx's among them
        raise ExportError(f"{name}@{revision} cannot be downloaded: {first_line(error)}") from error
