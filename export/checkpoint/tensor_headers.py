"""What lies in files of safetensors, by their headers: no value is read."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from memscan.scanner.errors import ExportError, first_line


class Tensor(NamedTuple):
    """Where a tensor lies: its file and its name there."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str


def headers(files: Iterable[Path]) -> Iterator[Tensor]:
    """The tensors of each file by name.

    Raises:
        ExportError: a file cannot be read.
    """
    for file in files:
        try:
            with safe_open(file, "pt") as opened:
                for key in sorted(opened.keys()):
                    piece = opened.get_slice(key)
                    yield Tensor(file, key, tuple(piece.get_shape()), piece.get_dtype())
        except (OSError, SafetensorError) as error:
            raise ExportError(f"{file} cannot be loaded: {first_line(error)}; download it again") from error
