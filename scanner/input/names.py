"""The name of a manifest, from which the default output folder has its own: safe, and another one for each manifest.

A Parquet file in the working folder gives its name without `.parquet`, another file there its whole name, so that
`m.parquet` and `m.csv` differ. Whatever else is named (a path, a folder, a glob, several) gives its last part that is
no pattern, and after a dash eight hexadecimal digits of the SHA-256 of what was named, relative to the working folder;
standard input gives the digest of what came. A name that must be changed has a digest too: all but letters, digits,
`.`, `_` and `-` becomes `_`, and 80 characters are kept.
"""

import glob
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from memscan.scanner.input.formats import STDIN, SUFFIXES
from memscan.scanner.input.input_file import InputFile

_LONGEST = 80


def name_of(manifests: Sequence[str], files: Sequence[InputFile]) -> str:
    """The name of the manifest that `manifests` are together, and which has the files `files`."""
    if [file.path for file in files] == [STDIN]:
        with files[0].open() as stream:
            return f"stdin-{hashlib.file_digest(stream, 'sha256').hexdigest()[:8]}"
    paths = [os.path.relpath(one) for one in manifests]
    given = paths[0]
    is_plain = len(paths) == 1 and os.sep not in given and Path(given).is_file()
    stem = _stem(given, is_pattern=all(file.path != Path(manifests[0]) for file in files))
    safe = _safe(stem)
    if is_plain and safe == stem and not _is_ambiguous(given, stem):
        return stem
    digest = hashlib.sha256("\0".join(paths).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{safe}-{digest[:8]}"


def _stem(path: str, *, is_pattern: bool) -> str:
    named = [part for part in Path(path).parts if part != ".." and not (is_pattern and glob.has_magic(part))]
    return named[-1].removesuffix(".parquet") if named else "manifest"


def _is_ambiguous(given: str, stem: str) -> bool:
    return given.endswith(".parquet") and Path(stem).suffix.lower() in SUFFIXES


def _safe(stem: str) -> str:
    kept = "".join(one if one.isalnum() or one in "._-" else "_" for one in stem[:_LONGEST])
    return f"_{kept[1:]}" if kept[:1] in ("-", ".", "") else kept
