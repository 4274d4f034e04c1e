"""Whatever stops a run, the same command finishes it: nothing lost, nothing twice, nothing partial in sight."""

import errno
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memscan.scanner.cli import invoke
from tests.scanner.run.small_run import ROWS, STEPS, command, contents, set_aside, temporary, visible, write_manifest

REPOSITORY = Path(__file__).parents[3]

RENAME = "pathlib.Path.replace"

POINTS = {
    "the run is recorded, nothing is done": ("memscan.scanner.run.runner.finished_parts", "", 1),
    "in the middle of a part": ("memscan.scanner.run.part.BatchMaker.scanned", "a broken phone", 1),
    "an image is written, not yet renamed": (RENAME, "images/00001/00000003-5.png", 1),
    "one image of two is renamed": (RENAME, "images/00000/00000001-2.png", 1),
    "maps are written, images are not yet": (
        "memscan.scanner.results.store.LocalStore._temporary",
        "00000005-7.png",
        1,
    ),
    "the record is written, not yet in its place": ("memscan.scanner.results.store._place", "run.json", 1),
    "maps are committed, results are not": ("memscan.scanner.run.part.Part._commit", "", 2),
    "results are written, not yet renamed": (RENAME, "results/part-00001.parquet", 1),
    # The folder is flushed after each part.
    "results are renamed, the rename is not flushed": ("memscan.scanner.results.store._sync_folder", "results')", 2),
    "all parts are done, success is not marked": ("memscan.scanner.results.folder.OutputFolder.mark_complete", "", 1),
}
"""Function, word among its arguments, and which of such calls."""


@pytest.fixture
def arguments(analytic: Path, tmp_path: Path) -> list[str]:
    return command(write_manifest(tmp_path / "m.parquet", ROWS), analytic, tmp_path / "out")


@pytest.fixture(scope="module")
def uninterrupted(analytic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert invoke(command(write_manifest(folder / "m.parquet", ROWS), analytic, folder / "out")) == 3
    return contents(folder / "out")


def stop(number: str, point: tuple[str, str, int], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "tests.scanner.run.stopped_run", number, *map(str, point)]
    return subprocess.run([*program, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_uninterrupted_run_has_one_row_for_each_row_seed_and_step(uninterrupted: dict[str, Any]) -> None:
    keys = []
    for name, table in uninterrupted.items():
        if name.startswith("results/"):
            keys += list(zip(table["row"], table["seed"], table["step_index"], strict=True))
    assert keys == [(row, seed, step) for row, values in enumerate(ROWS) for seed in values["seed"] for step in STEPS]


@pytest.mark.parametrize("point", POINTS)
def test_killed_run_is_finished_by_the_same_command(
    point: str, arguments: list[str], tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    stopped = stop("SIGKILL", POINTS[point], arguments)
    assert stopped.returncode == -signal.SIGKILL, stopped.stderr
    assert not (tmp_path / "out" / "results" / "_SUCCESS").exists()
    for name, content in visible(tmp_path / "out").items():
        assert content == uninterrupted[name], name
    assert invoke(arguments) == 3
    assert contents(tmp_path / "out") == uninterrupted


def test_run_killed_twice_is_finished(arguments: list[str], tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    stop("SIGKILL", POINTS["maps are committed, results are not"], arguments)
    stop("SIGKILL", (RENAME, "results/part-00002.parquet", 1), arguments)
    assert sorted(file.name for file in (tmp_path / "out" / "results").iterdir()) == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert invoke(arguments) == 3
    assert contents(tmp_path / "out") == uninterrupted


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        ("SIGTERM", 143, "memscan: terminated; the same command continues"),
        ("SIGINT", 130, "memscan: stopped; the same command continues"),
    ],
)
def test_signal_stops_the_run_resumably(
    number: str, code: int, line: str, arguments: list[str], tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    stopped = stop(number, POINTS["in the middle of a part"], arguments)
    assert (stopped.returncode, stopped.stdout) == (code, "")
    *progress, last = stopped.stderr.split("\n")[:-1]
    assert last.endswith(f" ERROR {line}")
    assert all(each == "" or " INFO memscan: " in each for each in progress)
    assert temporary(tmp_path / "out") == []
    assert invoke(arguments) == 3
    assert contents(tmp_path / "out") == uninterrupted


DAMAGED = "results/part-00001.parquet"
REDONE = {
    "success is taken back, nothing is set aside": ("memscan.scanner.results.store.LocalStore.set_aside", DAMAGED, 1),
    "the torn part is set aside": ("memscan.scanner.run.runner._scan", "", 1),
    "the part is done again, success is not marked": ("memscan.scanner.run.runner.complete", "", 1),
    "what nothing names is being set aside": ("memscan.scanner.results.store.LocalStore.set_aside", "00000099", 1),
}
"""Points of a run that finds a torn part, and an image that nothing names, in a folder marked as complete."""


@pytest.mark.parametrize("point", REDONE)
def test_run_killed_while_it_mends_is_finished(
    point: str, arguments: list[str], tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    assert invoke(arguments) == 3
    (out / DAMAGED).write_bytes((out / DAMAGED).read_bytes()[:-1])
    (out / "images" / "00001" / "00000099-1.png").write_bytes(b"of nothing")
    assert stop("SIGKILL", REDONE[point], arguments).returncode == -signal.SIGKILL
    assert not (out / "results" / "_SUCCESS").exists()
    assert invoke(arguments) == 3
    assert contents(out) == uninterrupted
    assert {file.name.rpartition("-")[0] for file in set_aside(out)} == {"part-00001.parquet", "00000099-1.png"}


def test_finished_parts_are_committed_when_a_signal_ends_the_wait(
    arguments: list[str], tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    """SIGTERM when the last batch of the second part was just handed over: the part is finished, the third is not."""
    stopped = stop("SIGTERM", ("memscan.scanner.run.runner._stop_at_too_many", "", 5), arguments)
    assert stopped.returncode == 143
    parts = [name for name in visible(tmp_path / "out") if name.startswith("results/")]
    assert parts == ["results/part-00000.parquet", "results/part-00001.parquet"]
    assert invoke(arguments) == 3
    assert contents(tmp_path / "out") == uninterrupted


@pytest.mark.parametrize("extra", [["--maps"], []], ids=["maps", "results"])
def test_full_disk_is_one_line_and_resumable(extra: list[str], analytic: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["run", str(write_manifest(tmp_path / "m.parquet", ROWS)), "--model", str(analytic)]
    arguments += ["--out", str(out), "--threads", "1", *extra]
    # Files of at most 4 KiB: the run's record is smaller, a file of maps or results is larger.
    program = """import resource, memscan.scanner.cli
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
memscan.scanner.cli.main()"""
    stopped = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert stopped.stderr.splitlines()[-1].endswith(
        " ERROR memscan: error: [Errno 27] File too large: mend the disk or device, then run the same command again"
    )
    assert visible(out) == {}
    assert invoke(arguments) == 3
    assert len(contents(out)["results/part-00000.parquet"]["row"]) == 8 * len(STEPS)


def test_batch_size_may_change_when_a_run_is_resumed(
    arguments: list[str], tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    stop("SIGKILL", POINTS["results are written, not yet renamed"], arguments)
    assert invoke([*arguments, "--batch-size", "1"]) == 3
    found = contents(tmp_path / "out")
    assert found.keys() == uninterrupted.keys()
    for name in (name for name in found if name.startswith("results/")):
        scores, expected = ([np.nan if s is None else s for s in run[name]["score"]] for run in (found, uninterrupted))
        # The bound of the contract: a row's numbers do not depend on its batch beyond float32 rounding.
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


def test_any_flush_or_rename_may_fail(
    analytic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full at the first, the second, the third ... flush or rename, until a run comes through untouched."""
    manifest = write_manifest(tmp_path / "m.parquet", ROWS[:2])
    arguments = ["run", str(manifest), "--model", str(analytic), "--maps", "--images", "--threads", "1"]
    assert invoke([*arguments, "--out", str(tmp_path / "whole")]) == 0
    calls: list[int] = []
    counter, fails_at = itertools.count(1), 0

    def failing(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            number = next(counter)  # atomic: images are flushed by several threads
            calls.append(number)
            if number == fails_at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*args)

        return call

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(os, "link", failing(os.link))
    monkeypatch.setattr(Path, "replace", failing(Path.replace))
    while True:
        counter, fails_at = itertools.count(1), fails_at + 1
        calls.clear()
        out = tmp_path / f"out-{fails_at}"
        capsys.readouterr()
        code = invoke([*arguments, "--out", str(out)])
        if len(calls) < fails_at:
            break
        printed = capsys.readouterr().err
        if "the pulse or its metrics cannot be written, and the scan goes on" in printed:
            assert code == 0, f"call {fails_at}"
        else:
            assert code == 1, f"call {fails_at}"
            assert printed.splitlines()[-1] == (
                "memscan: error: [Errno 28] No space left on device: "
                "mend the disk or device, then run the same command again"
            )
        visible(out)
        assert invoke([*arguments, "--out", str(out)]) == 0
        assert contents(out) == contents(tmp_path / "whole"), f"call {fails_at}"
    assert code == 0
    # Record, maps, three images, results and mark of success are flushed, put in place, and flushed in their folder.
    assert fails_at > 24
