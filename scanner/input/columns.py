"""The columns that a scan reads of a manifest, and whether a file has them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from memscan.scanner.errors import ManifestError

OPTIONAL = ("seed", "id", "image")


@dataclasses.dataclass(frozen=True)
class Columns:
    """The name of the prompt column, and the columns to be carried through to the results."""

    prompt: str = "prompt"
    carry: tuple[str, ...] = ()

    def require(self, path: Path, names: Sequence[str]) -> None:
        """Check that a file with the columns `names` has each once, and those that cannot be missing at all.

        Raises:
            ManifestError: a column is missing or there twice.
        """
        for name in names:
            if names.count(name) > 1:
                raise ManifestError(f"{path} has two columns named {name!r}: rename one of them")
        there = ", ".join(names) or "none"
        if self.prompt not in names:
            raise ManifestError(
                f"{path} has no column {self.prompt!r}; its columns are: {there}; say which with --prompt-column"
            )
        for name in self.carry:
            if name not in names:
                raise ManifestError(f"{path} has no column {name!r} to carry; its columns are: {there}")


DEFAULT_COLUMNS = Columns()
