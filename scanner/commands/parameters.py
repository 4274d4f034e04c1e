"""Types of options that click lacks."""

import re
from pathlib import Path
from typing import ClassVar

import click

from memscan.scanner.errors import UsageError
from memscan.scanner.local_path import local_path
from memscan.scanner.place import Place, place_of


class UnicodeText(click.ParamType):
    """Text that can be written down: an argument whose bytes are not UTF-8 is refused."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail("it is not valid UTF-8", param, ctx)
        return value


class Duration(click.ParamType):
    """A time in seconds, or with a unit: 90, 90s, 10m, 2h."""

    name = "time"
    _UNITS: ClassVar = {"": 1, "s": 1, "m": 60, "h": 3600}

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smh]?)", str(value))
        if found is None:
            self.fail(f"{value!r} is no time: expected a number of seconds, or such as 90s, 10m, 2h", param, ctx)
        return float(found[1]) * self._UNITS[found[2]]


class LocalPath(click.ParamType):
    """A path of this machine: a URL is refused."""

    name = "path"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        try:
            return local_path(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class AnyPlace(click.ParamType):
    """A path of this machine, or the URL of an object store."""

    name = "place"

    def convert(self, value: str | Place, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        try:
            return place_of(value) if isinstance(value, str) else value
        except UsageError as error:
            self.fail(str(error), param, ctx)
