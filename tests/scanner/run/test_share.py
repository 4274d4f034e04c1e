"""Workers that share a run: each has its parts, none disturbs another, and the last one marks the success."""

import dataclasses
import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import filelock
import pytest

from memscan.scanner.bundle import open_bundle
from memscan.scanner.errors import EnvironmentFailed, ResumeRefused, UsageError
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.results import layout
from memscan.scanner.results.store import LocalStore
from memscan.scanner.run.job import Job
from memscan.scanner.run.measurement import build_measurement
from memscan.scanner.run.request import Request
from memscan.scanner.run.runner import Summary, run
from memscan.scanner.run.share import WHOLE, Share, claimed
from memscan.scanner.scanning.scanner import Scanner
from memscan.scanner.settings import Execution
from tests.scanner.run.small_run import ROWS, contents, write_manifest

REPOSITORY = Path(__file__).parents[3]


def make_job(model: Path, manifest: Path, out: Path, share: Share = WHOLE) -> Job:
    """Three parts of three rows, with maps and images."""
    bundle = open_bundle(model)
    measurement, _ = build_measurement(bundle, Request(save_maps=True, save_images=True))
    return Job(open_manifest(str(manifest)), bundle, measurement, Execution(2, 1), out, 3, share)


@pytest.fixture
def job(analytic: Path, tmp_path: Path) -> Job:
    return make_job(analytic, write_manifest(tmp_path / "m.parquet", ROWS), tmp_path / "out")


@pytest.fixture
def whole(job: Job, tmp_path: Path) -> dict[str, Any]:
    """What one worker alone makes."""
    assert run(dataclasses.replace(job, out=tmp_path / "whole"), note=pytest.fail).complete
    return contents(tmp_path / "whole")


def work(job: Job, index: int, of: int) -> tuple[Summary, list[str]]:
    """Do a share of a job; returns what was said too."""
    said: list[str] = []
    return run(dataclasses.replace(job, share=Share(index, of)), note=said.append), said


@pytest.mark.parametrize("of", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_every_part_belongs_to_one_share(of: int, count: int) -> None:
    shares = [list(Share(index, of).parts(count)) for index in range(of)]
    assert [number for share in shares for number in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("index", "of"), [(2, 2), (-1, 2), (0, 0)])
def test_share_that_does_not_exist_is_refused(index: int, of: int) -> None:
    with pytest.raises(UsageError, match=f"share {index} of {of}: shares are counted from 0 to {of - 1}"):
        Share(index, of)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
def test_two_shares_one_after_the_other_make_one_run(first: int, second: int, job: Job, whole: dict[str, Any]) -> None:
    summary, said = work(job, first, 2)
    assert not summary.complete
    left = len(Share(second, 2).parts(3))
    assert said == [f"share {first}-of-2 is done; {left} of 3 parts are left to the other shares"]
    assert not (job.out / layout.SUCCESS).exists()
    summary, said = work(job, second, 2)
    assert (summary.complete, said) == (True, [])
    assert contents(job.out) == whole
    assert work(job, first, 2)[0].was_complete


def test_two_processes_at_once_make_one_run(analytic: Path, job: Job, whole: dict[str, Any]) -> None:
    program = """
import sys
from pathlib import Path
from memscan.scanner.run.runner import run
from memscan.scanner.run.share import Share
from tests.scanner.run.test_share import make_job
model, manifest, out, index = sys.argv[1:]
run(make_job(Path(model), Path(manifest), Path(out), Share(int(index), 2)), note=print)
"""
    arguments = [sys.executable, "-c", program, str(analytic), str(job.out.parent / "m.parquet"), str(job.out)]
    workers = [subprocess.Popen([*arguments, str(index)], cwd=REPOSITORY) for index in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    assert contents(job.out) == whole


def test_more_shares_than_parts_leave_some_without_work(job: Job, whole: dict[str, Any]) -> None:
    for index in range(4):
        work(job, index, 4)
    assert contents(job.out) == whole


def test_share_that_is_taken_is_refused_and_others_are_free(job: Job) -> None:
    with claimed(LocalStore(job.out), Share(0, 2), pytest.fail):
        with pytest.raises(EnvironmentFailed, match="another memscan is writing to"):
            work(job, 0, 2)
        assert work(job, 1, 2)[0].total.images == 4


def test_twins_on_one_share_where_locks_do_nothing_make_one_run(
    job: Job, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of its second part the first worker sleeps, while a second one does the whole run."""
    monkeypatch.setattr(filelock.FileLock, "acquire", lambda *arguments, **options: None)
    original, calls = Scanner.scan, 0

    def scan(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            assert run(job, note=lambda line: None).complete
        return original(*arguments)

    monkeypatch.setattr(Scanner, "scan", scan)
    assert run(job, note=pytest.fail).complete
    assert calls >= 7
    assert contents(job.out) == whole


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError("no flock")])
def test_file_system_without_locks_is_said_and_worked_on(
    error: Exception, job: Job, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def acquire(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    said: list[str] = []
    assert run(job, note=said.append).complete
    assert said == [f"{job.out} is on a file system without locks: see to it that nobody else works on this share"]
    assert contents(job.out) == whole


def test_share_of_other_rows_completes_nothing(analytic: Path, job: Job, tmp_path: Path) -> None:
    work(job, 1, 2)
    rows = [ROWS[0] | {"seed": [1, 2, 3]}, *ROWS[1:3], *ROWS[:3], *ROWS[:2]]
    other = write_manifest(tmp_path / "other.parquet", rows)
    with pytest.raises(ResumeRefused, match=r"part \d in .* was made of other rows than . to ., which it should hold"):
        run(make_job(analytic, other, job.out, Share(0, 2)), note=lambda line: None)
    assert not (job.out / layout.SUCCESS).exists()
