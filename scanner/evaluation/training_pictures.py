"""A folder of training pictures, and which of them an image of the results is compared with: the one of its name.

ID.*                the id of the manifest's row
dl_007.*, 7.*       the number of the row, also with more zeros before it
PROMPT.*            the prompt, `/` written as `_`, its first 200 characters: as the field names its folders
"""

import os
import re
from pathlib import Path

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.formats.mask_files import is_black, picture_file

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_NUMBER = re.compile(r"(?:dl_)?0*(\d{1,18})")
_LONGEST = 200


class TrainingPictures:
    """The pictures in a folder, by their names without suffix; folders below it are not looked into."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError if there is no such folder, or no picture in it."""
        if not folder.is_dir():
            raise UsageError(f"no folder of training pictures at {folder}")
        self._folder = folder
        names = sorted(entry.name for entry in os.scandir(folder) if Path(entry.name).suffix.lower() in _SUFFIXES)
        if not names:
            raise UsageError(f"{folder} holds no pictures ({', '.join(sorted(_SUFFIXES))})")
        self._by_stem: dict[str, str] = {}
        self._by_number: dict[int, str] = {}
        for name in names:
            self._by_stem.setdefault(Path(name).stem, name)
            number = _NUMBER.fullmatch(Path(name).stem)
            if number:
                self._by_number.setdefault(int(number[1]), name)

    def find(self, id: str | None, prompt: str | None, row: int | None) -> str | None:
        """Name of the picture that an image is compared with; None if there is none."""
        if id is not None and id in self._by_stem:
            return self._by_stem[id]
        named = None if prompt is None else self._by_stem.get(prompt.replace("/", "_")[:_LONGEST])
        return named or (None if row is None else self._by_number.get(row))

    def read(self, name: str) -> bytes | None:
        """The encoded picture, None for a black one.

        Raises:
            ValueError: it cannot be read.
        """
        picture = picture_file(name, self._folder)
        return None if is_black(picture) else picture
