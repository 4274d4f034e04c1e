"""Types of options that click lacks."""

import click


class UnicodeText(click.ParamType):
    """Text that can be written down: an argument whose bytes are not UTF-8 is refused."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail("it is not valid UTF-8", param, ctx)
        return value
