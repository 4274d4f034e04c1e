"""A real Ray on this machine: two workers, of which one is killed in the middle; and how failures are answered."""

import functools
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.errors import EnvironmentFailed, UsageError
from memscan.scanner.fleet.ray import _Schedule, run_on_ray
from memscan.scanner.results.tally import Tally
from memscan.scanner.run.job import Job
from memscan.scanner.run.runner import Summary
from memscan.scanner.run.share import Share
from memscan.scanner.scanning.scanner import Scanner
from tests.scanner.run.small_run import ROWS, contents, write_manifest
from tests.scanner.run.test_share import make_job

REPOSITORY = Path(__file__).parents[3]


def job_of_a_worker(model: Path, manifest: Path, out: Path, killed: Path) -> Job:
    """The job; the first process to scan a second batch of it is killed there, as by the kernel for want of memory."""
    original, calls = Scanner.scan, 0

    def scan(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)

    Scanner.scan = scan  # type: ignore[method-assign]
    return make_job(model, manifest, out)


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_make_the_run_of_one_process(
    analytic: Path, tmp_path: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr(Scanner, "scan", Scanner.scan)  # taken back: the driver makes the job as well
    manifest = write_manifest(tmp_path / "m.parquet", ROWS)
    killed = tmp_path / "killed"
    make = functools.partial(job_of_a_worker, analytic, manifest, tmp_path / "out", killed)
    said: list[str] = []
    summary = run_on_ray(make, "local", workers=2, note=said.append)
    assert killed.exists()
    assert (summary.complete, summary.total.images, summary.total.error) == (True, 8, 2)
    assert said[0].startswith("2 workers on 1 machines, each with 1 CPUs") or said[0].startswith("1 workers")
    assert any("is done again by a new worker" in line for line in said)
    assert contents(tmp_path / "out") == contents(finished_run)
    again = run_on_ray(make, "local", workers=1, note=said.append)
    assert again.was_complete


class FakeRay(SimpleNamespace):
    """Ray with workers that answer at once, each call with the next of `answers`, an error or a summary."""

    def __init__(self, answers: Sequence[Any]) -> None:
        errors = SimpleNamespace(RayActorError=ActorDied, RayTaskError=TaskFailed)
        super().__init__(exceptions=errors, answers=list(answers), killed=0, given=[])

    def start(self) -> Any:
        return SimpleNamespace(do=SimpleNamespace(remote=self.take))

    def take(self, share: Share) -> object:
        self.given.append(share)
        return object()

    def wait(self, calls: list[object], timeout: float) -> tuple[list[object], list[object]]:
        return calls[:1], calls[1:]

    def get(self, call: object) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, worker: object) -> None:
        self.killed += 1


class ActorDied(Exception):
    """As ray.exceptions.RayActorError."""


class TaskFailed(Exception):
    """As ray.exceptions.RayTaskError."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}\nand a trace")
        self.cause = cause


DONE = Summary(Tally(ok=2), 0, complete=False)
SHARES = [Share(0, 2), Share(1, 2)]


def scheduled(ray: FakeRay, out: Path, said: list[str], workers: int = 2) -> Summary:
    return _Schedule(ray, ray.start, out, SHARES, said.append).done(workers, 4, progress=_silent)


class _silent:
    def __init__(self, total: int, done: int) -> None: ...
    def __enter__(self) -> Any:
        return lambda count, errors: None

    def __exit__(self, *arguments: object) -> None: ...


@pytest.mark.parametrize(
    "error", [ActorDied("the worker died"), TaskFailed(EnvironmentFailed("the device is lost"))], ids=["dead", "lost"]
)
def test_share_of_a_worker_that_failed_is_done_again(error: Exception, tmp_path: Path) -> None:
    ray, said = FakeRay([error, DONE, Summary(Tally(ok=2), 0, complete=True)]), []
    summary = scheduled(ray, tmp_path, said)
    assert (summary.complete, summary.total.images) == (True, 4)
    assert ray.given == [*SHARES, SHARES[0]]
    assert len(said) == 1
    assert said[0].startswith("share 0-of-2 is done again by a new worker: the ")


def test_share_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    ray = FakeRay([ActorDied("out of memory")] * 3)
    with pytest.raises(EnvironmentFailed, match="share 0-of-2 failed 3 times, at last by: out of memory"):
        _Schedule(ray, ray.start, tmp_path, SHARES[:1], lambda line: None).done(1, 2, progress=_silent)


def test_error_that_no_retry_mends_ends_the_run_and_its_workers(tmp_path: Path) -> None:
    ray = FakeRay([TaskFailed(UsageError("the folder holds another run"))])
    with pytest.raises(UsageError, match="the folder holds another run"):
        scheduled(ray, tmp_path, [])
    assert ray.killed == 1


def test_bug_is_shown_as_one(tmp_path: Path) -> None:
    ray = FakeRay([TaskFailed(KeyError("x"))])
    with pytest.raises(TaskFailed, match="KeyError"):
        scheduled(ray, tmp_path, [])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--ray", "local", "--share", "0/2"], "--ray hands out all shares: leave --share out"),
        (["--workers", "2"], "--workers is for --ray"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "--prompt", "a mug", *options]) == 2
    assert error in capsys.readouterr().err
