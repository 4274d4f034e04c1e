"""The heartbeat of a run, its metrics, and the probe that reads them."""

import json
import os
import re
import socket
from pathlib import Path

import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.health.alive import health
from memscan.scanner.health.heart import Heart
from memscan.scanner.health.pulse import Pulse
from memscan.scanner.notes import LOGGER
from memscan.scanner.results.store import LocalStore
from tests.scanner.run.run_command import run, write

SAMPLE = re.compile(r'memscan_[a-z_]+\{[a-z]+="(?:[^"\\\n]|\\.)*"(?:,[a-z]+="(?:[^"\\\n]|\\.)*")*\} [-+0-9.e]+')
BEAT = "_memscan/heartbeat-0-of-1.json"


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def heart(out: Path, time: Time, metrics: Path | None = None) -> Heart:
    labels = {"model": 'a "model"\n\\'}
    return Heart(LocalStore(out), "0-of-1", 100, 10, 1, metrics=metrics, labels=labels, clock=time, now=time)


def pulse(out: Path) -> Pulse:
    return Pulse.from_json((out / BEAT).read_bytes())


def test_it_beats_at_once_and_then_when_work_advances_but_not_all_the_time(tmp_path: Path) -> None:
    time = Time()
    beating = heart(tmp_path, time)
    assert (pulse(tmp_path).done, pulse(tmp_path).failed, pulse(tmp_path).time) == (10, 1, 1000.0)
    time.now += 1
    beating.advance(2.5, 0)
    assert pulse(tmp_path).done == 10
    time.now += 4
    beating.advance(2.5, 1)
    now = pulse(tmp_path)
    assert (now.done, now.failed, now.scanned, now.seconds, now.rate, now.ended) == (15, 2, 5, 5.0, 1.0, False)
    assert (now.host, now.process) == (socket.gethostname(), os.getpid())
    beating.end()
    assert pulse(tmp_path).ended


def test_metrics_are_openmetrics_and_never_half_there(tmp_path: Path) -> None:
    heart(tmp_path / "out", Time(), tmp_path / "memscan.prom")
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
    time = Time()
    beating = heart(tmp_path, time, tmp_path / "nowhere" / "memscan.prom")
    time.now += 10
    beating.advance(1, 0)
    beating.end()
    (said,) = caplog.messages
    assert said.startswith("heartbeat or metrics cannot be written, and the scan goes on: [Errno 2]")
    assert pulse(tmp_path).ended


def at(out: Path, time: float, *, host: str = "here", share: str = "0-of-1", ended: bool = False) -> None:
    beat = Pulse(share, 8, 4.5, 0, 4.5, 60.0, time, host, 1, ended)
    LocalStore(out).publish(f"_memscan/heartbeat-{share}.json", beat.to_json())


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
    at(tmp_path, 100.0, share="0-of-2", ended=True)
    assert health(tmp_path, 60, host="here", now=500.0).well


def test_probe_by_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe = ["health", str(tmp_path), "--max-age", "10m"]
    assert invoke(probe) == 1
    assert capsys.readouterr().out == f"not well: no heartbeat in {tmp_path}: no run has begun to scan there\n"
    (tmp_path / "_memscan").mkdir()
    (tmp_path / BEAT).write_bytes(b"torn")
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
    assert (beat.images, beat.done, beat.failed, beat.ended) == (4, 4, 2, True)
    assert "memscan_failed" in Path("m.prom").read_text()
    summary = json.loads(Path("out/_memscan/summary.json").read_text())
    assert summary["complete"]
    assert summary["images"] == {"all": 4, "ok": 2, "error": 2, "truncated": 0, "given": 0, "sampled": 4, "screened": 0}
    assert summary["errors"] == {"the prompt is null": 1, "not finite at timestep N": 1}
    assert summary["parts"] == {"all": 1, "done": 1}
    assert summary["last_process"]["images"] == 4
    assert summary["last_process"]["graphs"]["step.onnx"] == "CPUExecutionProvider"
    assert summary["versions"]["memscan"]
    before = Path("out/_memscan/summary.json").read_bytes()
    run(*arguments, code=3, capsys=capsys)
    assert Path("out/_memscan/summary.json").read_bytes() == before  # of a run that had nothing to do, it stays
