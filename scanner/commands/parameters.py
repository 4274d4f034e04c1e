"""Types of options that click lacks."""

from pathlib import Path

import click

from memscan.scanner.errors import UsageError
from memscan.scanner.local_path import local_path


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
