"""Types of options that click lacks."""

from pathlib import Path

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
