"""The files of a bundle: none is opened but those that it lists, regular files of its own inside of its folder.

A bundle may come from anywhere. A path that leads out of it, a link, a pipe or a device would have a runtime read what
is none of the bundle's, or wait for ever.
"""

import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from memscan.scanner import graph_names
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.errors import BundleError
from memscan.scanner.external_data import GraphError, external_files

_UNTRUSTED = "do not trust this bundle"


def is_inside(name: str) -> bool:
    """Whether a name is the plain relative path of a file below its folder, with slashes."""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and not any(part in ("", ".", "..") for part in parts)


def check_file(bundle: Path, name: str) -> None:
    """Check a file of the bundle's folder, without opening it.

    The bundle's folder itself may be a link. Files of the embedded bundle may have several names, since installers link
    them from their caches.

    Raises:
        BundleError: there is no such file, it is not inside the folder, no regular file, or known by other names too.
    """
    if not is_inside(name):
        raise BundleError(f"{bundle}: bundle.json names {name!r:.100}, outside the bundle; {_UNTRUSTED}")
    try:
        root, file = bundle.resolve(strict=True), (bundle / name).resolve(strict=True)
        found = file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"{bundle} is incomplete: {name} is missing; export the model again") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: how Python 3.12 says that links lead to each other
        raise BundleError(f"{bundle}: {name} cannot be opened ({error}): export the model again") from error
    if not file.is_relative_to(root):
        raise BundleError(
            f"{bundle}: {name} is a link that leads out of the bundle; {_UNTRUSTED}, or copy it with cp -rL"
        )
    if not stat.S_ISREG(found.st_mode):
        raise BundleError(f"{bundle}: {name} is no regular file: export the model again")
    if found.st_nlink != 1 and root != BUNDLE.resolve():
        raise BundleError(f"{bundle}: {name} is hard-linked to a file elsewhere: copy the bundle with cp -rL")


def check_tensors(bundle: Path, files: Iterable[str]) -> None:
    """Check, of those of a bundle's `files` that are graphs, where their tensors lie: in others of its files.

    Raises:
        BundleError: a graph is none, or has tensors elsewhere.
    """
    listed = set(files)
    for graph in sorted(filter(graph_names.is_graph, listed)):
        try:
            locations = external_files(bundle / graph)
        except GraphError as error:
            raise BundleError(f"{bundle / graph} is no graph ({error}): export the model again") from error
        for location in sorted(locations):
            if not is_inside(location):
                raise BundleError(
                    f"{bundle}: {graph} has tensors in {location!r:.100}, outside the bundle; {_UNTRUSTED}"
                )
            name = str(PurePosixPath(graph).parent / location)
            if name not in listed:
                raise BundleError(
                    f"{bundle}: {graph} has tensors in {name}, which bundle.json does not list; {_UNTRUSTED}"
                )
