"""How a command that failed ends: one line for the user, and the exit code of the contract.

What memscan did not foresee is a bug: its trace goes to a file, and its exit code is 70, as sysexits.h has it.
"""

import errno
import platform
import sys
import tempfile
import traceback
from importlib.metadata import version

from memscan.scanner.errors import EnvironmentFailed, MemscanError, OutOfMemory, first_line
from memscan.scanner.process.signals import Terminated
from memscan.scanner.process.system_errors import explained

BUG = 70
_CONTINUED = ("run", "demo", "build")
"""Commands that do the rest when they are given again; the others begin anew."""
_BATCHED = ("run", "build", "calibrate")
"""Commands with an option --batch-size."""


def outcome(error: BaseException, command: str) -> tuple[str, int]:
    """The line, without "memscan: ", and the exit code; the trace of a bug is written."""
    line, code = foretold(error, command)
    return (f"error: {_bug_report(error)}", BUG) if code == BUG else (line, code)


def foretold(error: BaseException, command: str) -> tuple[str, int]:
    """What `outcome` will say, for a record that is made before; of a bug, without the file that it writes."""
    rest = "the same command continues" if command in _CONTINUED else "the same command begins anew"
    if isinstance(error, KeyboardInterrupt):
        return f"stopped; {rest}", 130
    if isinstance(error, Terminated):
        return f"terminated; {rest}", 143
    known = _known(error, command)
    return (f"error: {known}", known.exit_code) if known else (f"error: {_bug(error)}", BUG)


def _known(error: BaseException, command: str) -> MemscanError | None:
    from memscan.scanner.runtimes.failures import is_out_of_memory

    if isinstance(error, MemscanError):
        return error
    memory = f"use a {'smaller --batch-size, or a ' if command in _BATCHED else ''}larger machine"
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return OutOfMemory(f"{error}: {memory}")
    if isinstance(error, OSError):
        return explained(error)
    if is_out_of_memory(error):
        return OutOfMemory(f"out of memory: {memory}")
    if isinstance(error, ImportError) and not (error.name or "memscan").startswith("memscan"):
        return EnvironmentFailed(f"{first_line(error)}: this installation of memscan is incomplete, install it again")
    return None


def _bug(error: BaseException) -> str:
    return f"this is a bug of memscan, please report it: {type(error).__name__}: {first_line(error)}"


def _bug_report(error: BaseException) -> str:
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="memscan-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as stream:
            stream.write(f"memscan {version('memscan')}, Python {sys.version}, {platform.platform()}\n\n")
            stream.writelines(traceback.format_exception(error))
    except OSError as failed:
        return f"{_bug(error)} (its trace could not be written: {failed})"
    return _bug(error).replace("report it:", f"report it with the file {stream.name}:", 1)
