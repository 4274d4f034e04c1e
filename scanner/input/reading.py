"""How files are read, where they do not say it themselves."""

import dataclasses
from pathlib import Path
from typing import Literal

from memscan.scanner.errors import UsageError

OnBadInput = Literal["stop", "quarantine"]

FORMATS = ("parquet", "csv", "jsonl", "text")

_SPELT = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";"}


@dataclasses.dataclass(frozen=True)
class Reading:
    """None leaves it to the file: `format` to its name, `delimiter` and `encoding` (of text) to its first bytes.

    `image_root` is the folder where image paths start and which they cannot leave, by default that of the file.
    `on_bad_input` says of row groups that cannot be read whether they stop the run, or all their rows become rows with
    errors.
    """

    format: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    image_root: Path | None = None
    on_bad_input: OnBadInput = "stop"

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UsageError: no such encoding, no such folder, or a delimiter that is not one character.
        """
        if self.delimiter is not None:
            object.__setattr__(self, "delimiter", _SPELT.get(self.delimiter, self.delimiter))
            if len(self.delimiter) != 1 or self.delimiter in '"\r\n\0':
                raise UsageError(f"--delimiter {self.delimiter!r}: expected one character, such as ';', or tab")
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except (LookupError, ValueError):
                raise UsageError(
                    f"--encoding {self.encoding!r} is not known: try utf-8, utf-16, cp1252 or latin-1"
                ) from None
        if self.image_root is not None and not self.image_root.is_dir():
            raise UsageError(f"--image-root {self.image_root} is no folder")


DEFAULT_READING = Reading()
