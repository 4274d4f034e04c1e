"""Settings in a file: `memscan.toml` of the working folder, or the one that --config names.

    model = "sd14"              # for every command, and for Python
    require_model = true

    [run]                       # options of `memscan run`, by their names
    batch_size = 16
    carry = ["kind"]

A key that nobody knows is an error that names the nearest one: a nightly scan must not run without what it was told.
"""

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from memscan.scanner.errors import UsageError

FILE = "memscan.toml"

_TYPES: dict[str, type] = {"model": str, "require_model": bool}


@dataclasses.dataclass(frozen=True)
class Configuration:
    """What a file says: `model` and `require_model`, and the options of commands in `tables`, by the command's name."""

    file: Path
    model: str | None = None
    require_model: bool = False
    tables: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)


def read_configuration(file: Path | None = None) -> Configuration:
    """Read the file, or that of the working folder, which need not be there.

    Raises:
        UsageError: it cannot be read, or has a setting that is none, or is of another type.
    """
    path = Path(FILE) if file is None else file
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        if file is None:
            return Configuration(path)
        raise UsageError(f"{path}, which --config names, is not there: check the path") from error
    except (OSError, ValueError) as error:  # TOML that is malformed, or not UTF-8
        raise UsageError(f"{path.absolute()} cannot be read: {str(error).splitlines()[0]}") from error
    tables = {name: value for name, value in settings.items() if isinstance(value, dict) and name not in _TYPES}
    for name, value in settings.items():
        if name in tables:
            continue
        if name not in _TYPES:
            raise UsageError(f"{path.absolute()}: {name!r} is no setting: {nearest(name, _TYPES)}")
        if not isinstance(value, _TYPES[name]):
            raise UsageError(f"{path.absolute()}: {name} is {value!r}, not a {_TYPES[name].__name__}")
    return Configuration(path, settings.get("model") or None, settings.get("require_model", False), tables)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """What was probably meant by an unknown name, in words; `cutoff`, up to 1, is how near it must be."""
    known = list(known)
    close = difflib.get_close_matches(name, known, 1, cutoff)
    return f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
