"""The command line: finds the command, and turns every error into one line and an exit code.

Exit codes: 0 all rows ok; 1 environment or device failed; 2 usage or input; 3 done, but some rows have status error, or
more images are newly flagged than `diff --fail-on-new` allows;
70 a bug of memscan, whose trace is in a file that is named; 130 and 143 stopped by SIGINT and SIGTERM, to be resumed by
the same command. A second signal, a second after the first or later, ends the process at once.
"""

import importlib
import io
import sys

import click

from memscan.scanner.commands.configured import PREFIX, configured
from memscan.scanner.notes import LOGGER
from memscan.scanner.process.log import is_json, logged_to
from memscan.scanner.process.outcome import outcome
from memscan.scanner.process.signals import stop_on_signals
from memscan.scanner.process.streams import guard_streams, lost_output
from memscan.scanner.telemetry import forbid_telemetry
from memscan.scanner.terminal import is_terminal, printable_lines

COMMANDS = {
    "run": "Scan a manifest of prompts: scores and masks to Parquet",
    "status": "Say how far a run is: done, running, failed, how fast, until when",
    "eval": "Compare results with ground truth, or two results with one another",
    "verify": "Compare generated images with training images",
    "flag": "Pick the memorized images of a sweep at a rate of false discoveries",
    "show": "Draw a contact sheet of results",
    "report": "Write a page on results, to be read in a browser",
    "top": "Print the images with the highest scores",
    "table": "Write results as CSV or for a spreadsheet",
    "diff": "Compare two results: what is newly flagged, and what no longer",
    "calibrate": "Find a model's thresholds from prompts of which it memorizes nothing",
    "doctor": "Say what this installation lacks, and how to get it",
    "health": "Say by the exit code whether a run is alive",
    "demo": "Scan, evaluate and draw with the embedded model",
    "export": "Turn a diffusers checkpoint into a bundle",
    "inspect": "Say what a bundle is",
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
        return configured(module.command, COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": PREFIX})
@click.version_option(package_name="memscan", message="memscan %(version)s")
def cli() -> None:
    """Find whether, and where, a text-to-image diffusion model reproduces its training images.

    \b
    memscan demo                    see it work, on the embedded model
    memscan run manifest.parquet    scan the prompts of a manifest

    \b
    Exit codes:
      0    done
      1    environment, disk or device failed: mend it, and run the same command again
      2    options or input are wrong
      3    done, but some rows have status error, or more are newly flagged than diff --fail-on-new allows
      70   a bug of memscan: the line on standard error names a file to report
      130, 143   stopped by SIGINT or SIGTERM; a second signal ends the process at once
    """


def main(args: list[str] | None = None) -> None:
    """Entry point of a process: run the command and exit with the code that the contract gives."""
    guard_streams()
    stop_on_signals()
    code = invoke(args, dated=not is_terminal(sys.stderr))
    lost = lost_output()
    if lost and code == 0:
        with logged_to(sys.stderr, dated=not is_terminal(sys.stderr)):
            LOGGER.error("error: standard output: %s", lost)
        code = 1
    sys.exit(code)


def invoke(args: list[str] | None = None, *, dated: bool = False) -> int:
    """Run the command given by `args` (default: the process's) and return its exit code.

    Args:
        dated: write time and level in the lines on standard error, for a log.
    """
    forbid_telemetry()
    words = sys.argv[1:] if args is None else args
    command = next((word for word in words if word in COMMANDS), "")
    with logged_to(sys.stderr, dated=dated):
        try:
            code = cli.main(args, prog_name="memscan", standalone_mode=False)
        except click.exceptions.Exit as error:
            return error.exit_code
        except click.Abort as error:  # click's word for KeyboardInterrupt and EOFError
            line, code = outcome(error.__cause__ or KeyboardInterrupt(), command)
            LOGGER.error("%s", line)
        except click.ClickException as error:
            if is_json():
                LOGGER.error("error: %s", error.format_message())
                return 2
            message = io.StringIO()
            error.show(file=message)
            click.echo(printable_lines(message.getvalue()), err=True, nl=False)
            return 2
        except (SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # Rust's panics are no Exceptions
            line, code = outcome(error, command)
            LOGGER.error("%s", line)
    return code if isinstance(code, int) else 0
