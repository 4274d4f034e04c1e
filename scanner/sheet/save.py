"""Writing a sheet: the format follows the name of the file."""

import io
from pathlib import Path

from PIL import Image

from memscan.scanner.errors import UsageError
from memscan.scanner.process.system_errors import explained

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_QUALITY = 92  # of JPEG: text stays sharp


def check_format(file: Path) -> None:
    """Raises UsageError if a sheet cannot have the name of `file`."""
    if file.suffix.lower() not in _FORMATS:
        raise UsageError(f"--out {file}: a sheet is written to a file that ends in {', '.join(_FORMATS)}")


def save(sheet: Image.Image, file: Path) -> None:
    """Write `sheet` to `file`, as PNG or JPEG.

    Raises:
        UsageError: the file has another suffix, or cannot be written there.
        EnvironmentFailed: the disk is full or broken.
    """
    check_format(file)
    content = io.BytesIO()
    sheet.save(content, _FORMATS[file.suffix.lower()], quality=_QUALITY, subsampling=0)
    try:
        stream = file.open("wb")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}: choose another --out") from error
    try:
        with stream:
            stream.write(content.getvalue())
    except OSError as error:
        raise explained(OSError(error.errno, error.strerror, str(file))) from error
