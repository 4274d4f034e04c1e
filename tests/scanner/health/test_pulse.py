"""The pulse of a share, its metrics, and the probe that reads it."""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.errors import EnvironmentFailed
from memscan.scanner.health.alive import health
from memscan.scanner.notes import LOGGER
from memscan.scanner.process.signals import Terminated
from memscan.scanner.results.pulse import Pulse, State, read_pulses, write_pulse
from memscan.scanner.results.store import LocalStore
from memscan.scanner.results.tally import Tally
from memscan.scanner.run.part import Part, ScannedBatch
from memscan.scanner.run.pulse import PulseWriter, first_pulse
from tests.scanner.run.run_command import run, write
from tests.scanner.run.small_run import ROWS, command, write_manifest

SAMPLE = re.compile(r'memscan_[a-z_]+\{[a-z]+="(?:[^"\\\n]|\\.)*"(?:,[a-z]+="(?:[^"\\\n]|\\.)*")*\} [-+0-9.e]+')
FILE = "_memscan/shares/0-of-1.json"


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def writer(out: Path, time: Time, metrics: Path | None = None) -> PulseWriter:
    first = first_pulse("0-of-1", parts=3, images=200, share_images=100, found=10, failed=1)
    labels = {"model": 'a "model"\n\\'}
    return PulseWriter(LocalStore(out), first, metrics=metrics, labels=labels, clock=time, now=time)


def pulse(out: Path) -> Pulse:
    (found,) = read_pulses(LocalStore(out))
    return found


def test_a_pulse_says_where_work_is_and_when_it_advanced(tmp_path: Path) -> None:
    time = Time()
    writing = writer(tmp_path, time)
    time.now += 4
    writing.advance(2.5, 0)
    time.now += 1
    writing.write()
    now = pulse(tmp_path)
    assert (now.finished, now.failed, now.scanned, now.seconds, now.rate) == (12.5, 1, 2.5, 5.0, 0.5)
    assert (now.state, now.advanced, now.written) == ("working", 1004.0, "1970-01-01T00:16:45+00:00")
    assert (now.host, now.process) == (socket.gethostname(), os.getpid())
    time.now += 100  # a pulse alone is no progress
    writing.write()
    assert (pulse(tmp_path).advanced, pulse(tmp_path).beats) == (1004.0, 2)


def test_metrics_are_openmetrics_and_never_half_there(tmp_path: Path) -> None:
    writer(tmp_path / "out", Time(), tmp_path / "memscan.prom").write()
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["memscan.prom"]
    *lines, end, empty = (tmp_path / "memscan.prom").read_text().split("\n")
    assert (end, empty) == ("# EOF", "")
    samples = [line for line in lines if not line.startswith("#")]
    assert len(samples) == 7
    for line in samples:
        assert SAMPLE.fullmatch(line), line
    assert 'memscan_done{share="0-of-1",model="a \\"model\\"\\n\\\\"} 10.0' in samples


def test_a_disk_that_refuses_is_said_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    writing = writer(tmp_path, Time(), tmp_path / "nowhere" / "memscan.prom")
    writing.write()
    writing.write("done")
    (said,) = caplog.messages
    assert said.startswith("the pulse or its metrics cannot be written, and the scan goes on: [Errno 2]")
    assert pulse(tmp_path).state == "done"


def at(out: Path, time: float, *, host: str = "here", share: str = "0-of-1", state: State = "working") -> None:
    error = (None, None) if state in ("working", "done") else ("error: the device\x1b is lost", 1)
    write_pulse(LocalStore(out), Pulse(share, host, 1, state, 1, 8, 8, 4.5, 0, 4.5, 60.0, 3, "", time, *error))


def test_health_is_the_age_of_the_last_progress(tmp_path: Path) -> None:
    at(tmp_path, 100.0)
    assert health(tmp_path, 60, host="here", now=160.0).well
    found = health(tmp_path, 60, host="here", now=161.0)
    assert not found.well
    assert found.why == "share 0-of-1 advanced 61 s ago, 4 of 8 images are done"
    assert health(tmp_path, 60, host="here", now=0.0).well  # the clock was set back


def test_a_probe_looks_at_the_processes_of_its_own_machine(tmp_path: Path) -> None:
    at(tmp_path, 100.0, share="0-of-2")
    at(tmp_path, 500.0, share="1-of-2", host="there")
    assert not health(tmp_path, 60, host="here", now=500.0).well
    assert health(tmp_path, 60, host="elsewhere", now=500.0).well
    at(tmp_path, 100.0, share="0-of-2", state="done")
    assert health(tmp_path, 60, host="here", now=500.0).well


def test_what_was_stopped_or_failed_is_not_well_however_young_it_is(tmp_path: Path) -> None:
    for state in ("stopped", "failed"):
        at(tmp_path, 100.0, state=state)
        assert health(tmp_path, 60, host="here", now=101.0) == (
            False,
            f"share 0-of-1 has {state}: error: the device\\x1b is lost",
        )


def test_probe_by_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe = ["health", str(tmp_path), "--max-age", "10m"]
    assert invoke(probe) == 1
    assert capsys.readouterr().out == f"not well: no pulse in {tmp_path}: no run has begun to scan there\n"
    (tmp_path / "_memscan" / "shares").mkdir(parents=True)
    (tmp_path / FILE).write_bytes(b"torn")
    assert invoke(probe) == 1
    at(tmp_path, 1.0, host=socket.gethostname())
    assert invoke(probe) == 1
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "_SUCCESS").touch()
    assert invoke(probe) == 0
    assert invoke([*probe[:-1], "soon"]) == 2


def test_a_run_leaves_pulse_metrics_and_summary(
    analytic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write("m.parquet", prompt=["a city", None, "a broken phone"], seed=[[0, 1], [2], [3]])
    arguments = ("m.parquet", "--model", analytic, "--out", "out", "--openmetrics", "m.prom", "--threads", 1)
    run(*arguments, code=3, capsys=capsys)
    beat = pulse(Path("out"))
    assert (beat.share_images, beat.finished, beat.failed, beat.state) == (4, 4, 2, "done")
    assert "memscan_failed" in Path("m.prom").read_text()
    summary = json.loads(Path("out/_memscan/summary.json").read_text())
    assert (summary["complete"], summary["state"], summary["error"]) == (True, "done", None)
    assert summary["images"] == {"all": 4, "ok": 2, "error": 2, "truncated": 0, "given": 0, "sampled": 4, "screened": 0}
    assert summary["errors"] == {"the prompt is null": 1, "not finite at timestep N": 1}
    assert summary["parts"] == {"all": 1, "done": 1}
    assert summary["last_process"]["images"] == 4
    assert summary["last_process"]["graphs"]["step.onnx"] == "CPUExecutionProvider"
    assert summary["versions"]["memscan"]
    before = Path("out/_memscan/summary.json").read_bytes()
    run(*arguments, code=3, capsys=capsys)
    assert Path("out/_memscan/summary.json").read_bytes() == before  # of a run that had nothing to do, it stays


def stopping(error: BaseException) -> Callable[..., None]:
    """In place of writing the second part of a run."""
    original = Part.write

    def write(part: Part, batches: Iterator[ScannedBatch]) -> Tally:
        if part._number == 1:
            raise error
        return original(part, batches)

    return write


@pytest.mark.parametrize(
    ("error", "code", "state", "line"),
    [
        (KeyboardInterrupt(), 130, "stopped", "stopped; the same command continues"),
        (Terminated(), 143, "stopped", "terminated; the same command continues"),
        (EnvironmentFailed("the device is lost"), 1, "failed", "error: the device is lost"),
        (
            ZeroDivisionError("x"),
            70,
            "failed",
            "error: this is a bug of memscan, please report it: ZeroDivisionError: x",
        ),
    ],
    ids=["SIGINT", "SIGTERM", "error", "bug"],
)
def test_a_run_that_does_not_end_well_is_summarized_and_all_say_the_same(
    error: BaseException, code: int, state: str, line: str, analytic: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = command(write_manifest(tmp_path / "m.parquet", ROWS), analytic, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(Part, "write", stopping(error))
        assert invoke(arguments) == code
    summary = json.loads((tmp_path / "out" / "_memscan" / "summary.json").read_text())
    assert (summary["complete"], summary["state"]) == (False, state)
    assert summary["error"] == {"line": line, "exit_code": code}
    assert summary["parts"] == {"all": 3, "done": 1}
    assert {name: summary["images"][name] for name in ("all", "ok", "error")} == {"all": 8, "ok": 3, "error": 1}
    assert summary["errors"] == {"the prompt is null": 1}
    assert summary["last_process"]["graphs"]["step.onnx"] == "CPUExecutionProvider"
    capsys.readouterr()
    assert invoke(["health", str(tmp_path / "out"), "--max-age", "1h"]) == 1
    assert capsys.readouterr().out == f"not well: share 0-of-1 has {state}: {line}\n"
    assert invoke(["status", str(tmp_path / "out"), "--json"]) == 0
    (share,) = json.loads(capsys.readouterr().out)["shares"]
    assert (share["state"], share["error"], share["exit_code"]) == (state, line, code)
    assert invoke(["status", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"ago by its clock: {line}")
    assert invoke(arguments) == 3
    summary = json.loads((tmp_path / "out" / "_memscan" / "summary.json").read_text())
    assert (summary["complete"], summary["state"], summary["error"]) == (True, "done", None)


def test_a_refused_run_leaves_the_summary_of_the_run_that_is_there(analytic: Path, tmp_path: Path) -> None:
    arguments = command(write_manifest(tmp_path / "m.parquet", ROWS), analytic, tmp_path / "out")
    assert invoke(arguments) == 3
    before = (tmp_path / "out" / "_memscan" / "summary.json").read_bytes()
    write_manifest(tmp_path / "m.parquet", [*ROWS[:6], {"prompt": "another", "seed": [8]}])
    assert invoke(arguments) == 2
    assert (tmp_path / "out" / "_memscan" / "summary.json").read_bytes() == before
