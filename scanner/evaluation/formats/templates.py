"""Pictures that Webster's ground truth refers to by position: templates with their masks, and retrieved pictures."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.formats.fields import said
from memscan.scanner.evaluation.formats.mask_files import mask_file, picture_file
from memscan.scanner.evaluation.formats.table import open_table
from memscan.scanner.evaluation.truth_masks import condensed


class Templates:
    """The rows of a `metadata.parquet`, whose paths begin at `folder`; files are read when they are asked for."""

    def __init__(self, folder: Path, metadata: Path) -> None:
        table = open_table(metadata)
        if "img_file" not in table.names:
            raise UsageError(f"{metadata} has no column img_file")
        columns = table.columns(["img_file", "mask_file"])
        self._folder, self._name = folder, f"{metadata.parent.name}/{metadata.name}"
        self._pictures, self._masks = columns["img_file"], columns.get("mask_file", [])
        self._read: dict[int, NDArray[np.bool_]] = {}

    def mask(self, index: int) -> NDArray[np.bool_]:
        """The mask of a template, bool [h, w], of 256 x 256 pixels at most.

        Raises:
            ValueError: there is no such template, or its mask cannot be read or is empty.
        """
        if index not in self._read:
            mask = condensed(mask_file(self._path(self._masks, index), self._folder))
            if not mask.any():
                raise ValueError(f"the mask of template {index} is empty")
            self._read[index] = mask
        return self._read[index]

    def picture(self, index: int) -> bytes | None:
        """The encoded picture, None where its file is not there: masks can be had without it.

        Raises:
            ValueError: there is no such row, or its file cannot be read.
        """
        path = self._path(self._pictures, index)
        return picture_file(path, self._folder) if (self._folder / path).is_file() else None

    def _path(self, paths: list[Any], index: int) -> str:
        if index >= len(paths):
            raise ValueError(f"there is no template {index}: {self._name} has {len(paths)}")
        if not isinstance(paths[index], str) or "\0" in paths[index]:
            raise ValueError(f"row {index} of {self._name} names {said(paths[index])}, no file")
        return str(paths[index])


def find_templates(truth: Path, folder: Path | None, name: str) -> Templates | None:
    """The `NAME/metadata.parquet` in `folder`, else beside the file `truth` or in the folder above it.

    Raises:
        UsageError: `folder` is given and has no templates, or the metadata cannot be read.
    """
    folders = [truth.parent, truth.absolute().parent.parent] if folder is None else [folder]
    for one in folders:
        metadata = one / name / "metadata.parquet"
        if metadata.is_file():
            return Templates(one, metadata)
    if folder is not None and name == "templates":
        raise UsageError(f"no templates/metadata.parquet in {folder}: --templates names the folder that holds it")
    return None
