"""Masks and pictures that a ground truth names by path: regular files of bounded size below one folder.

A mask is what is brighter than one half, as the literature reads its JPEGs; a picture of any format that images of
manifests have.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.errors import RowError
from memscan.scanner.input.image_files import read_image_file
from memscan.scanner.pictures.decode import decode_picture


def mask_file(path: str, folder: Path) -> NDArray[np.bool_]:
    """The mask bool [h, w] in the picture at `path`, relative to `folder`.

    Raises:
        ValueError: there is no such picture, or it is none.
    """
    try:
        picture = decode_picture(read_image_file(path, folder))
    except RowError as error:
        raise ValueError(f"the mask: {_outside(error)}") from error
    return np.asarray(picture.convert("L")) > 127


def picture_file(path: str, folder: Path) -> bytes:
    """The encoded picture at `path`, relative to `folder`.

    Raises:
        ValueError: there is none.
    """
    try:
        return read_image_file(path, folder)
    except RowError as error:
        raise ValueError(_outside(error)) from error


def is_black(encoded: bytes) -> bool:
    """Whether a picture is the placeholder that the field's downloader leaves where it failed.

    Raises:
        ValueError: it is no picture.
    """
    try:
        return bool(np.asarray(decode_picture(encoded)).max() < 8)  # JPEG of black
    except RowError as error:
        raise ValueError(str(error)) from error


def _outside(error: RowError) -> str:
    return str(error).partition(": --image-root")[0]
