"""Files of a checkpoint: JSON that is read strictly, and links that lead nowhere."""

import json
from pathlib import Path
from typing import Any

from memscan.scanner.errors import ExportError, first_line


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file, in UTF-8 whatever the locale.

    Raises:
        ExportError: it is missing, cannot be read, or holds something else.
    """
    require_whole(file)
    try:
        record = json.loads(file.read_bytes().decode("utf-8"))
    except FileNotFoundError as error:
        raise ExportError(f"{file} is missing: this is not a diffusers checkpoint of Stable Diffusion") from error
    except OSError as error:
        raise ExportError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{file} is not JSON: {first_line(error)}") from error
    if not isinstance(record, dict):
        raise ExportError(f"{file} holds no JSON object")
    return record


def require_whole(file: Path) -> None:
    """Check that `file` is no link into nothing, as an interrupted download leaves in a hub's cache.

    Raises:
        ExportError: it is.
    """
    if file.is_symlink() and not file.exists():
        raise ExportError(f"unfinished download of {file}: its link leads nowhere; download the checkpoint again")
