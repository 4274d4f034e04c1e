"""`memscan status`: what a folder says of its run while it is done, in parts done, and left by workers that died."""

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.pulse import Pulse, read_pulses, write_pulse
from memscan.scanner.results.status import Status, read_status, silent
from memscan.scanner.results.store import LocalStore
from memscan.scanner.results.tally import Tally
from memscan.scanner.run.pulse import PulseWriter, first_pulse, pulsing
from tests.scanner.run.small_run import ROWS, command, write_manifest

PULSE = Pulse("0-of-2", "here", 7, "working", 40, 1000, 500, 120, 3, 100, 50.0, 4, "2026-01-02T03:04:05+00:00", 9.0)


def asked(out: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `memscan status --json` says."""
    capsys.readouterr()
    assert invoke(["status", str(out), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def with_pulses(*pulses: Pulse, done: int = 0) -> Status:
    return Status(40, 1000, 5, 0, Tally(ok=done), False, pulses)


def test_a_run_by_shares_is_followed_to_its_end(
    analytic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = command(write_manifest(tmp_path / "m.parquet", ROWS), analytic, tmp_path / "out")
    assert invoke([*run, "--share", "1/2"]) == 3
    half = asked(tmp_path / "out", capsys)
    assert {name: half[name] for name in ("complete", "parts", "parts_done", "images", "images_done")} == {
        "complete": False,
        "parts": 3,
        "parts_done": 2,
        "images": 8,
        "images_done": 4,
    }
    assert [(share["share"], share["state"], share["finished"]) for share in half["shares"]] == [("1-of-2", "done", 4)]
    assert (half["images_per_second"], half["seconds_left"]) == (0, None)
    assert invoke([*run, "--share", "0/2"]) == 3
    whole = asked(tmp_path / "out", capsys)
    assert (whole["complete"], whole["parts_done"], whole["images_done"], whole["images_failed"]) == (True, 3, 8, 2)
    assert [share["state"] for share in whole["shares"]] == ["done", "done"]


def test_lines_for_people(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pulse(LocalStore(out), dataclasses.replace(PULSE, host="\x1b[31mred"))
    (out / "results" / "_SUCCESS").unlink()
    capsys.readouterr()
    assert invoke(["status", str(out)]) == 0
    first, second, third, fourth = capsys.readouterr().out.splitlines()
    assert first == f"{out}: not complete, 3 of 40 parts are done, with 8 images, 2 of them with errors"
    assert second == "1 shares say that they are working: 2 images/s, about 7 min 20 s left at that rate"
    assert "0-of-1" in third
    assert "0-of-2     working  120 of 500 images, 3 with errors, 2/s by process 7 of \\x1b[31mred, " in fourth
    assert fourth.endswith("ago by its clock")


def test_nothing_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["status", str(tmp_path)]) == 2
    assert f"no run in {tmp_path}: give the folder that `memscan run` writes" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_looking_changes_nothing(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    asked(out, capsys)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before


def test_damaged_part_and_garbled_pulse_are_counted_and_passed_over(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = out / "results" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    (out / "_memscan" / "shares" / "x.json").write_bytes(b'{"share": 3')
    found = asked(out, capsys)
    assert (found["parts_done"], found["parts_torn"], len(found["shares"])) == (2, 1, 1)


def test_what_is_left_is_divided_by_the_rate_of_those_who_work() -> None:
    twin = dataclasses.replace(PULSE, share="1-of-2", finished=80, scanned=20, seconds=5.0)
    ended = dataclasses.replace(PULSE, share="2-of-3", state="stopped")
    status = with_pulses(PULSE, twin, ended, done=150)
    assert status.rate == 100 / 50 + 20 / 5
    assert status.seconds_left == (1000 - (120 + 80)) / 6
    assert with_pulses(PULSE, done=400).seconds_left == 600 / 2
    assert with_pulses(ended).seconds_left is None
    assert with_pulses(dataclasses.replace(PULSE, scanned=0)).seconds_left is None


def test_whoever_says_nothing_between_two_looks_is_silent() -> None:
    twin = dataclasses.replace(PULSE, share="1-of-2")
    ended = dataclasses.replace(PULSE, share="2-of-3", state="done")
    later = dataclasses.replace(PULSE, beats=5)
    assert silent(with_pulses(PULSE, twin, ended), with_pulses(later, twin, ended)) == ("1-of-2",)


def test_worker_says_so_while_it_works_and_when_it_stops(tmp_path: Path) -> None:
    store, heard = LocalStore(tmp_path), threading.Event()

    class Listening(LocalStore):
        def publish(self, name: str, content: bytes) -> None:
            if heard_so_far():
                heard.set()
            super().publish(name, content)

    def heard_so_far() -> bool:
        return any(pulse.finished == 12 for pulse in read_pulses(store))

    def work() -> None:
        first = first_pulse("0-of-1", parts=3, images=30, share_images=20, found=10, failed=1)
        writer = PulseWriter(Listening(tmp_path), first, labels={})
        with pulsing(writer, period=0.001):
            writer.advance(2, 1)
            assert heard.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    (last,) = read_pulses(store)
    assert (last.state, last.finished, last.failed, last.scanned) == ("stopped", 12, 2, 2)
    assert last.beats >= 3
    assert read_status(OutputFolder(store)).seconds_left is None
