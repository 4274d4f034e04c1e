"""What a command logs and how; as a library memscan says nothing unless somebody listens."""

import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from memscan.scanner.notes import LOGGER, note, warn
from memscan.scanner.process.log import logged_to
from memscan.scanner.run.progress import draw_bar, show_progress
from memscan.scanner.runtimes.tensorrt.progress import show_build
from memscan.scanner.terminal import is_terminal
from tests.scanner.process import memscan


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error from now on; no fixture, for pytest sets its own after those."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    return stream


def test_lines_for_people_are_plain_and_lines_for_logs_have_time_and_level() -> None:
    plain, dated = io.StringIO(), io.StringIO()
    for stream in (plain, dated):
        with logged_to(stream, dated=stream is dated):
            note("100% of them, \x1b[2J and\nmore")
            warn("look")
    assert plain.getvalue() == "memscan: 100% of them, \\x1b[2J and\\nmore\nmemscan: look\n"
    first, second = dated.getvalue().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} INFO memscan: 100% of them, .*", first)
    assert re.fullmatch(r"\S+ WARNING memscan: look", second)


def test_the_log_of_a_process_is_dated(analytic: Path, tmp_path: Path) -> None:
    arguments = ["run", "--prompt", "a city", "--model", analytic, "--guidance", "3", "--out", "out"]
    done = memscan.run(arguments, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    levels = [re.fullmatch(r"\d{4}-\S+ ([A-Z]+) memscan: \S.*", line)[1] for line in done.stderr.splitlines()]
    assert levels == ["WARNING", "INFO", "INFO"]  # an uncalibrated threshold, the end, and how to look at it


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    with logged_to(stream, dated=False):
        note("unheard")


def test_the_log_is_left_as_it_was_found() -> None:
    before = (LOGGER.level, LOGGER.propagate, list(LOGGER.handlers))
    with logged_to(io.StringIO(), dated=False):
        assert LOGGER.isEnabledFor(logging.INFO)
    assert (LOGGER.level, LOGGER.propagate, list(LOGGER.handlers)) == before


@pytest.mark.parametrize(("term", "expected"), [("xterm", True), ("dumb", False)])
def test_a_dumb_terminal_takes_no_bars(term: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    assert is_terminal(Terminal()) == expected
    assert not is_terminal(io.StringIO())


def test_a_bar_counts_what_was_done_before_and_notes_stand_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    with logged_to(terminal, dated=False), show_progress(8, 2) as advance:
        advance(3, 0)
        note("in between")
        advance(3, 0)
    drawn = terminal.getvalue()
    assert "2/8" in drawn and "8/8" in drawn
    assert "\rmemscan: in between\n" in drawn.replace(" ", "").replace("memscan:inbetween", "memscan: in between")


def test_a_build_has_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    with logged_to(terminal, dated=False), show_build("step.onnx", note) as show:
        show(0.5, "Timing tactics")
        show(1.0, "Timing tactics")
    first, *_, last = terminal.getvalue().split("\r")[1:]
    assert first.startswith("building step.onnx:   0%|")
    assert last.strip() == ""


def test_without_a_listener_nothing_is_shown_even_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    with show_progress(8, 0) as advance, show_build("step.onnx", note) as show:
        advance(8, 0)
        show(1.0, "Timing tactics")
        note("unheard")
        warn("unheard")
    assert terminal.getvalue() == ""


def test_a_bar_can_be_asked_for_without_a_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    with draw_bar(2, 0) as advance:
        advance(2, 0)
    assert "2/2" in terminal.getvalue()


def test_a_scan_by_the_library_prints_nothing(analytic: Path, tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from memscan.scanner.bundle import open_bundle
from memscan.scanner.input.manifest import prompt_manifest
from memscan.scanner.notes import note
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import build_measurement
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import run
from memscan.scanner.settings import Execution
bundle = open_bundle(Path({str(analytic)!r}))
measurement, _ = build_measurement(bundle, Request())
run(Job(prompt_manifest(("a city",)), bundle, measurement, Execution(), Path("out")), note=note)
run(Job(prompt_manifest(("a city",)), bundle, measurement, Execution(), Path("out")), note=note)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
