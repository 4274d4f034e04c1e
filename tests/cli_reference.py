"""Writes docs/cli.md from the commands' own help: `python -m tests.cli_reference`. A test says when it is stale."""

from pathlib import Path

import click

from memscan.scanner.cli import COMMANDS, cli

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
_WIDTH = 100


def reference() -> str:
    """The page: the help of `memscan` and of each of its commands, as `--help` prints it at a fixed width."""
    sections = [("memscan", _help(cli, ["memscan"]))]
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        sections.append((f"memscan {name}", _help(command, ["memscan", name])))
    body = "\n\n".join(f"## {title}\n\n```\n{text}\n```" for title, text in sections)
    return f"# Command line\n\nMade from the commands' own help by `python -m tests.cli_reference`.\n\n{body}\n"


def _help(command: click.Command, names: list[str]) -> str:
    root = click.Context(cli, info_name=names[0], **cli.context_settings)
    parent = root if len(names) > 1 else None
    settings = {**cli.context_settings, "terminal_width": _WIDTH, "max_content_width": _WIDTH}
    context = click.Context(command, info_name=names[-1], parent=parent, **settings)
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


if __name__ == "__main__":
    PAGE.write_text(reference())
