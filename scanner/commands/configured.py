"""What every command takes: its options from a file or from the environment, and how it logs.

An option is taken from the command line, else from `MEMSCAN_<COMMAND>_<OPTION>`, else from the command's table in the
file. All three are read alike, so that a value means the same wherever it stands.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from memscan.scanner.commands.parameters import LocalPath
from memscan.scanner.configuration import FILE, nearest, read_configuration
from memscan.scanner.errors import UsageError
from memscan.scanner.notes import warn
from memscan.scanner.process.log import log_json, log_warnings_only

PREFIX = "MEMSCAN"
CONFIG_VARIABLE = f"{PREFIX}_CONFIG"

_FILE_USED = "memscan.configuration"
_TOP = ("model", "require_model")


def configuration_file() -> Path | None:
    """The file that --config named to the command that runs; None for that of the working folder."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(_FILE_USED)


def configured(command: click.Command, commands: Collection[str]) -> click.Command:
    """Give a command the options of all commands, once.

    Args:
        commands: the names that tables of the file can have.
    """
    if not any(parameter.name == "config" for parameter in command.params):
        for option in filter(_may_be_set, command.params):
            if option.envvar is None and _flag(option) != option.name:  # click's own is by the function's argument
                option.envvar = f"{PREFIX}_{command.name}_{_flag(option)}".upper()
        command.params += _options(commands)
    return command


def _options(commands: Collection[str]) -> list[click.Parameter]:
    def configure(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
        if not context.resilient_parsing:
            _configure(context, value, commands)

    return [
        click.Option(
            ["--config"],
            type=LocalPath(),
            metavar="FILE",
            is_eager=True,
            expose_value=False,
            callback=configure,
            envvar=CONFIG_VARIABLE,
            help=f"TOML with options  [default: {CONFIG_VARIABLE}, or {FILE} of the working folder]",
        ),
        click.Option(
            ["--quiet"],
            is_flag=True,
            expose_value=False,
            callback=lambda context, parameter, value: log_warnings_only() if value else None,
            help="Log warnings and errors alone, and no progress",
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(["text", "json"]),
            expose_value=False,
            is_eager=True,
            callback=lambda context, parameter, value: log_json() if value == "json" else None,
            help="Of standard error: lines of text, or objects with time, level and message  [default: text]",
        ),
    ]


def _configure(context: click.Context, file: Path | None, commands: Collection[str]) -> None:
    context.meta[_FILE_USED] = file
    configuration = read_configuration(file)
    path = configuration.file.absolute()
    for name in configuration.tables:
        if name not in commands:
            raise UsageError(f"{path}: there is no command {name!r}: {nearest(name, commands)}")
    own = str(context.info_name)
    known = {option.name: option for option in context.command.params if _may_be_set(option)}
    found: dict[str, Any] = {}
    for key, value in configuration.tables.get(own, {}).items():
        if key in _TOP and key in known:
            raise UsageError(f"{path}: {key} stands above all tables, not in [{own}]")
        option = _by_flag(known.values(), key)
        if option is None:
            flags = [_flag(one) for one in known.values()]
            raise UsageError(f"{path}: {key!r} is no option of memscan {own}: {nearest(_spelt(key), flags)}")
        found[str(option.name)] = _value(context, option, value, f"{path}: [{own}] {key}")
    context.default_map = found
    names = [name.upper() for option in known.values() for name in (str(option.name), _flag(option))]
    _warn_of_variables(f"{PREFIX}_{own.upper()}_", own, names)


def _may_be_set(option: click.Parameter) -> bool:
    return isinstance(option, click.Option) and not option.hidden and (option.expose_value or option.name == "quiet")


def _flag(option: click.Parameter) -> str:
    """An option as a key of the file, e.g. "batch_size"."""
    return _spelt(max(option.opts, key=len).lstrip("-"))


def _spelt(key: str) -> str:
    return key.replace("-", "_")


def _by_flag(options: Collection[click.Parameter], key: str) -> click.Parameter | None:
    return next((option for option in options if _flag(option) == _spelt(key)), None)


def _value(context: click.Context, option: click.Parameter, value: Any, where: str) -> Any:
    """A value of the file, as the command line would have it."""
    if isinstance(option, click.Option) and option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{where} is {value!r}: expected true or false")
        return value
    several = value if isinstance(value, list) else [value]
    for one in several:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise UsageError(f"{where} is {one!r}: expected text or a number")
    if isinstance(value, list) and not option.multiple:
        raise UsageError(f"{where} is a list, but the option is given once")
    said = [str(one) for one in several] if option.multiple else str(value)
    try:
        option.type_cast_value(context, said)
    except click.BadParameter as error:
        raise UsageError(f"{where}: {error.message}") from error
    return said


def _warn_of_variables(prefix: str, command: str, known: Collection[str]) -> None:
    """A variable that is nearly one of ours is probably meant for it; others with our prefix may be of the system.

    Kubernetes sets MEMSCAN_RUN_PORT, and more, where a service is called memscan-run.
    """
    for variable in sorted(os.environ):
        name = variable.removeprefix(prefix)
        if variable == name or name in known:
            continue
        said = nearest(name, known, cutoff=0.7)
        if said.startswith("did you mean"):
            warn(f"the variable {variable} is no option of memscan {command}: {said}")
