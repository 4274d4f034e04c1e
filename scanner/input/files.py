"""Which files a manifest is: one file, the Parquet files of a folder, or those that a glob matches.

Files are taken in the order of their names, so that the global row index does not depend on the file system.
"""

import glob
from pathlib import Path

from memscan.scanner.errors import ManifestError

SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""How a file's name says what it holds."""


def find_files(manifest: str) -> list[Path]:
    """The files of a manifest, sorted; all of them exist and have one format.

    Raises:
        ManifestError: there is nothing at `manifest`, or files of no known or of several formats.
    """
    path = Path(manifest)
    if path.is_dir():
        files = sorted(file for file in path.glob("*.parquet") if not file.name.startswith(("_", ".")))
        if not files:
            raise ManifestError(f"{manifest} holds no .parquet files: name a file, or a glob such as '{path}/**/*.csv'")
    elif path.is_file():
        files = [path]
    elif glob.has_magic(manifest):
        root = Path(path.anchor)
        files = sorted(file for file in root.glob(str(path.relative_to(root))) if file.is_file())
        if not files:
            raise ManifestError(f"no file matches {manifest}")
    else:
        raise ManifestError(f"no such manifest: {manifest}")
    formats = {file_format(file): file for file in files}
    if len(formats) > 1:
        first, second, *_ = formats.values()
        raise ManifestError(f"a manifest has files of one format, but {manifest} has {first.name} and {second.name}")
    return files


def file_format(path: Path) -> str:
    """`"parquet"`, `"csv"` or `"jsonl"`, by the name's suffix.

    Raises:
        ManifestError: another suffix.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ManifestError(f"{path} is no manifest by its name: expected one of {', '.join(SUFFIXES)}")
    return SUFFIXES[path.suffix.lower()]


def stem_of(manifest: str) -> str:
    """A short name for a manifest, from which the default output folder is named."""
    named = [part for part in Path(manifest).parts if not glob.has_magic(part) and part not in ("/", "..")]
    return Path(named[-1]).stem if named else "manifest"
