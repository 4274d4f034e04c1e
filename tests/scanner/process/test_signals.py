"""The first signal asks, another one a second later ends the process, whatever it is doing."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)

# As in a graph that never ends: a call in C, in which no instruction of Python runs, and which no signal interrupts.
STUCK = """
import contextlib, ctypes
from memscan.scanner.process.signals import stop_on_signals
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
libc.pthread_mutex_lock(mutex)
stop_on_signals()
with contextlib.suppress(BaseException):  # of a signal that is faster than the next line
    print("ready", flush=True)
    libc.pthread_mutex_lock(mutex)
libc.pthread_mutex_lock(mutex)
"""

CLEANING_UP = """
import sys
from memscan.scanner.process import signals
signals._ONE_WISH = 3600
signals.stop_on_signals()
try:
    print("ready", flush=True)
    while True:
        pass
except BaseException as error:
    print(type(error).__name__, flush=True)
    assert sys.stdin.read() == ""
    print("clean", flush=True)
"""


def started(program: str, before: Callable[[], object] | None = None) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=before
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@SIGNALS
def test_a_second_signal_ends_a_call_that_never_returns(number: signal.Signals) -> None:
    with started(STUCK) as process:
        for _ in range(600):
            process.send_signal(number)
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            break
        process.kill()
    assert process.returncode == 128 + number


@SIGNALS
def test_signals_that_come_together_do_not_break_the_cleaning_up(number: signal.Signals) -> None:
    """`timeout` sends its signal twice: to the process, and to its group."""
    with started(CLEANING_UP) as process:
        assert process.stdin is not None and process.stdout is not None
        process.send_signal(number)
        assert process.stdout.readline() == {"SIGINT": "KeyboardInterrupt\n", "SIGTERM": "Terminated\n"}[number.name]
        process.send_signal(number)
        process.stdin.close()
        assert process.stdout.read() == "clean\n"
    assert process.returncode == 0


@SIGNALS
def test_signals_that_the_parent_ignores_are_heeded(number: signal.Signals) -> None:
    """A shell starts what it runs in the background with SIGINT ignored."""
    with started(CLEANING_UP, lambda: signal.signal(number, signal.SIG_IGN)) as process:
        assert process.stdin is not None and process.stdout is not None
        process.send_signal(number)
        assert process.stdout.readline() in ("KeyboardInterrupt\n", "Terminated\n")
        process.stdin.close()


@pytest.mark.parametrize(
    ("command", "rest"),
    [
        ("run", "the same command continues"),
        ("demo", "the same command continues"),
        ("export", "the same command begins anew"),
        ("eval", "the same command begins anew"),
    ],
)
def test_what_the_same_command_would_do_is_said_rightly(command: str, rest: str, tmp_path: Path) -> None:
    program = f"""
import os, signal, click
from memscan.scanner import cli
def stopped(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
cli._LazyGroup.get_command = lambda *_: click.Command({command!r}, callback=stopped)
cli.main([{command!r}])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 143
    assert done.stderr.splitlines()[-1].endswith(f" ERROR memscan: terminated; {rest}")
