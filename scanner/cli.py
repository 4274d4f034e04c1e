"""The command line: finds the command, and turns every error into one line and an exit code.

Exit codes: 0 all rows ok; 1 environment or device failed; 2 usage or input; 3 done, but some rows have status error;
130 and 143 stopped by SIGINT and SIGTERM, to be resumed by the same command.
"""

import importlib
import signal
import sys
from types import FrameType

import click

from memscan.scanner.errors import MemscanError

COMMANDS = {
    "run": "Scan a manifest of prompts: scores and masks to Parquet",
    "eval": "Compare results with ground-truth masks",
    "show": "Draw a contact sheet of results",
    "demo": "Scan, evaluate and draw with the embedded model",
    "export": "Turn a diffusers checkpoint into a bundle",
    "build": "Build a bundle's TensorRT plans before a run needs them",
}
"""Commands and their one-line help, in the order of `memscan --help`; each lives in a module of its name."""


class _LazyGroup(click.Group):
    """Imports a command's module only when that command is used, so that help and completion stay fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"memscan.scanner.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="memscan", message="memscan %(version)s")
def cli() -> None:
    """Find whether, and where, a text-to-image diffusion model reproduces its training images.

    \b
    memscan demo                    see it work, on the embedded model
    memscan run manifest.parquet    scan the prompts of a manifest
    """


class Terminated(BaseException):
    """SIGTERM arrived. Not an Exception, so that nothing between here and `main` swallows it."""


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated


def main(args: list[str] | None = None) -> None:
    """Entry point: run the command and exit the process with the code that the contract gives."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(invoke(args))


def invoke(args: list[str] | None = None) -> int:
    """Run the command given by `args` (default: the process's) and return its exit code."""
    try:
        code = cli.main(args, prog_name="memscan", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("memscan: stopped; the same command continues", err=True)
        return 130
    except Terminated:
        click.echo("memscan: terminated; the same command continues", err=True)
        return 143
    except MemscanError as error:
        click.echo(f"memscan: error: {error}", err=True)
        return error.exit_code
    except MemoryError:
        click.echo("memscan: error: out of memory: use a smaller --batch-size, or a larger machine", err=True)
        return 1
    except OSError as error:
        click.echo(f"memscan: error: {error}: mend the disk or device, then run the same command again", err=True)
        return 1
    return code if isinstance(code, int) else 0
