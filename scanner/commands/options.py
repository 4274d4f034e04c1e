"""Options of the command line, written once: listed under headings, and gathered into one value for each group.

Choices are those of the settings' types and defaults those of their fields, so that no option can disagree with what a
caller from Python may say.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from memscan.scanner.commands.parameters import LocalPath

Command = TypeVar("Command", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option that help lists under `heading`."""

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class GroupedCommand(click.Command):
    """A command whose help lists its options under their headings, in the order in which they first occur."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        other: list[tuple[str, str]] = []
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None and isinstance(option, click.Option):
                under = sections.setdefault(option.heading, []) if isinstance(option, GroupedOption) else other
                under.append(record)
        for heading, records in {**sections, "Other": other}.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def grouped(heading: str) -> Callable[..., Callable[[Command], Command]]:
    """`click.option` for options under `heading`."""
    return functools.partial(click.option, cls=GroupedOption, heading=heading)


def choice(literal: Any) -> "click.Choice[str]":  # generic since click 8.2
    """The values of a `Literal` type as a choice."""
    return click.Choice([str(value) for value in get_args(literal)])


def gathered(name: str, build: Callable[..., Any]) -> Callable[[Command], Command]:
    """Gather the options that `build` (a dataclass, or a function) takes into one argument called `name`."""
    taken = list(inspect.signature(build).parameters)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathering(*args: Any, **options: Any) -> Any:
            value = build(**{option: options.pop(option) for option in taken})
            return command(*args, **options, **{name: value})

        return gathering  # type: ignore[return-value]

    return decorate


def all_of(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several decorators as one, in the order in which they would stand above a command."""

    def decorate(command: Command) -> Command:
        for one in reversed(decorators):
            command = one(command)
        return command

    return decorate


def plans_option(option: Callable[..., Callable[[Command], Command]] = click.option) -> Callable[[Command], Command]:
    """`--cache`, of the commands that use TensorRT's plans."""
    return option(
        "--cache",
        "plans",
        type=LocalPath(),
        metavar="DIR",
        help="Folder of TensorRT's plans  [default: the user's cache]",
    )


rate_option = click.option(
    "--rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help="False-positive rate at which p-values flag an image; without p-values its mask does",
)
"""`--rate`, of the commands that say which images are flagged."""
