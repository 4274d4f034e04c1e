"""Whose an error is: its exit code, its advice, and for what nobody foresaw a trace in a file."""

import errno
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import pyarrow as pa
import pytest

from memscan.scanner import cli
from memscan.scanner.cli import COMMANDS
from memscan.scanner.errors import UsageError
from memscan.scanner.process.outcome import outcome
from memscan.scanner.process.system_errors import ADVICE

DISK = "mend the disk or device, then run the same command again"
EXIT_CODES = {
    1: "EIO ENOSPC EDQUOT EFBIG ENXIO ENODEV ESTALE ENOTCONN ETIMEDOUT EREMOTEIO EMFILE ENFILE EAGAIN EBUSY ENOMEM",
    2: "ENAMETOOLONG ELOOP ENOTDIR ENOENT EEXIST ENOTEMPTY EISDIR ETXTBSY EACCES EPERM EXDEV EROFS",
}
ON_DISKS = ["EIO", "ENOSPC", "EDQUOT", "EFBIG", "ENXIO", "ENODEV", "ESTALE", "ENOTCONN", "ETIMEDOUT"]
NAMES = [(name, code) for code, names in EXIT_CODES.items() for name in names.split()]


def command_named(name: str) -> click.Command:
    command = cli.cli.get_command(click.Context(cli.cli), name)
    assert command is not None
    return command


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Exit code, and the lines of a command that raises."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(cli._LazyGroup, "get_command", lambda *_: click.Command("run", callback=fail))
    code = cli.invoke(["run"])
    printed = capsys.readouterr()
    assert printed.out == ""
    return [str(code), *printed.err.splitlines()]


@pytest.mark.parametrize(("name", "code"), NAMES)
def test_every_error_of_the_system_has_its_exit_code_and_advice(
    name: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(errno, name)
    error = OSError(number, os.strerror(number), "some/path")
    advice = ADVICE[number][1] if name != "ENOMEM" else "use a smaller --batch-size, or a larger machine"
    line = f"memscan: error: [Errno {number}] {os.strerror(number)}: 'some/path': {advice}"
    assert failing(error, monkeypatch, capsys) == [str(code), line]
    assert (DISK in line) == (name in ON_DISKS)


def test_the_table_is_tested_whole() -> None:
    assert {getattr(errno, name) for name, _ in NAMES} == ADVICE.keys()


def test_an_unknown_error_of_the_system_is_said_without_advice() -> None:
    error = OSError(errno.EPROTO, "Protocol error", "some/path")
    assert outcome(error, "run") == (f"error: [Errno {errno.EPROTO}] Protocol error: 'some/path'", 1)
    assert outcome(OSError("a library's own words"), "run") == ("error: a library's own words", 1)
    assert outcome(OSError(), "run") == ("error: OSError", 1)


@pytest.mark.parametrize(
    "error", [MemoryError(), pa.ArrowMemoryError("malloc of size 64 failed"), RuntimeError("std::bad_alloc")], ids=repr
)
def test_too_little_memory_is_no_bug(error: Exception) -> None:
    for command in COMMANDS:
        batched = any("--batch-size" in option.opts for option in command_named(command).params)
        advice = "use a smaller --batch-size, or a larger machine" if batched else "use a larger machine"
        assert outcome(error, command) == (f"error: out of memory: {advice}", 1)
        line, code = outcome(OSError(errno.ENOMEM, "Cannot allocate memory"), command)
        assert (line, code) == (f"error: [Errno {errno.ENOMEM}] Cannot allocate memory: {advice}", 1)


def test_a_package_that_does_not_load_is_no_bug_and_one_of_ours_is() -> None:
    line, code = outcome(ImportError("libtiff.so.6: cannot open shared object file", name="PIL._imaging"), "run")
    assert code == 1
    assert line == (
        "error: libtiff.so.6: cannot open shared object file: this installation of memscan is incomplete, "
        "install it again"
    )
    assert outcome(ImportError("cannot import name 'x'", name="memscan.scanner.scanning"), "run")[1] == 70


class PanicException(BaseException):
    """As pyo3 raises where Rust panics: no Exception."""


@pytest.mark.parametrize(
    "error", [KeyError("dim"), ValueError("two\nlines \x1b[31m"), RecursionError(), PanicException("unwrap")], ids=repr
)
def test_what_nobody_foresaw_is_a_bug_with_its_trace_in_a_file(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, line = failing(error, monkeypatch, capsys)
    assert code == "70"
    (file,) = tmp_path.iterdir()
    assert line.startswith(f"memscan: error: this is a bug of memscan, please report it with the file {file}: ")
    assert type(error).__name__ in line
    trace = file.read_text()
    assert trace.startswith("memscan ")
    assert re.search(r"Traceback .*\bin fail\n", trace, re.S)
    assert file.stat().st_mode & 0o077 == 0


def test_a_trace_that_cannot_be_written_does_not_hide_the_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    code, line = failing(KeyError("dim"), monkeypatch, capsys)
    assert code == "70"
    assert line.startswith("memscan: error: this is a bug of memscan, please report it: KeyError: 'dim' (its trace ")


def test_an_end_of_file_is_not_taken_for_a_signal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """click turns EOFError and KeyboardInterrupt into the same exception."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert failing(EOFError("Compressed file ended"), monkeypatch, capsys)[0] == "70"
    assert failing(KeyboardInterrupt(), monkeypatch, capsys) == [
        "130",
        "",
        "memscan: stopped; the same command continues",
    ]


def test_an_error_is_one_line_whatever_it_quotes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = UsageError("column 'a\nb\x1b[2J\udce9' is not there")
    line = r"memscan: error: column 'a\nb\x1b[2J\xe9' is not there"
    assert failing(error, monkeypatch, capsys) == ["2", line]


def long(tmp_path: Path) -> Path:
    return tmp_path / ("a" * 300)


def loop(tmp_path: Path) -> Path:
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path / "loop" / "x"


def under_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "x"


def a_file(tmp_path: Path) -> Path:
    (tmp_path / "out").write_text("")
    return tmp_path / "out"


@pytest.mark.parametrize("place", [long, loop, under_a_file, a_file], ids=lambda place: place.__name__)
def test_an_output_folder_that_cannot_be_is_a_usage_error(
    place: Callable[[Path], Path], analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place(tmp_path)
    assert cli.invoke(["run", "--prompt", "a city", "--model", str(analytic), "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert out.name[:20] in line or out.parent.name in line
    assert DISK not in line
