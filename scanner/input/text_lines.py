"""Text files: their encoding, told from the first bytes or refused, and their lines, of bounded length."""

import codecs
import io
from collections.abc import Iterator

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.input_file import InputFile

MAX_LINE = 1 << 24
"""Characters that a line may have."""

_HEAD = 1 << 16
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_OTHERS = {
    b"PK\x03\x04": "a spreadsheet or another archive: save it as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "a spreadsheet of old: save it as CSV UTF-8",
    b"PAR1": "Parquet: give it a name that ends in .parquet, or say --format parquet",
    b"ARROW1": "an Arrow file: write it as Parquet",
    b"\x1f\x8b": "compressed: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed: unpack it",
    b"BZh": "compressed: unpack it",
    b"\xfd7zXZ": "compressed: unpack it",
    b"SQLite format 3": "a database: export its table as CSV",
    b"%PDF": "a PDF, no text",
}


def encoding_of(file: InputFile, asked: str | None) -> str:
    """The name of the codec that reads a file: by its byte order mark, else as `asked`, else UTF-8.

    Raises:
        ManifestError: its first bytes are those of no text, or of UTF-16 without a mark.
    """
    with file.open() as stream:
        head = stream.read(_HEAD)
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            raise ManifestError(f"{file.path} is {what}")
    if asked is None and b"\0" in head:
        raise ManifestError(f"{file.path} holds zero bytes, as UTF-16 does: say --encoding utf-16-le or utf-16-be")
    return asked or "utf-8"


def lines_of(file: InputFile, encoding: str, newline: str | None = None) -> Iterator[tuple[int, str | None]]:
    """Number, from 1, and text of each line with its end; None for one that is too long.

    Bytes that the encoding does not know become half surrogates, which `is_unicode` finds.

    Args:
        newline: as `open` takes it.

    Raises:
        ManifestError: the encoding breaks off.
    """
    with file.open() as binary, io.TextIOWrapper(binary, encoding, "surrogateescape", newline) as stream:
        try:
            number = 0
            while line := stream.readline(MAX_LINE):
                number += 1
                if len(line) < MAX_LINE or line.endswith(("\n", "\r")):
                    yield number, line
                    continue
                while line and not line.endswith(("\n", "\r")):
                    line = stream.readline(MAX_LINE)
                yield number, None
        except UnicodeError as error:
            raise ManifestError(f"{file.path} is not {encoding} ({error}): say --encoding") from error


def too_long(number: int) -> str:
    return f"line {number} has more than {MAX_LINE} characters"


def is_unicode(text: str) -> bool:
    """Whether text is free of half surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
