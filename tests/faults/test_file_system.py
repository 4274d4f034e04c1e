"""A file system that fails at any call, or says that a rename failed which did not."""

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.run import runner
from tests.faults.scan import arguments, assert_whole

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.ETIMEDOUT, errno.ESTALE)


def test_any_call_may_fail_in_any_way(
    model: Path, tmp_path: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the output folder: the first, second, third ... call fails, until a run comes through untouched."""
    counter, fails_at, folder = itertools.count(1), 0, tmp_path
    reached = 0

    def failing(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal reached
            if not isinstance(given[0], int) and not str(given[0]).startswith(str(folder / "out")):
                return original(*given, **named)
            number = next(counter)  # atomic: images are flushed by several threads
            reached = max(reached, number)
            if number == fails_at:
                code = ERRORS[number % len(ERRORS)]
                raise OSError(code, os.strerror(code))
            return original(*given, **named)

        return call

    for owner, name in (
        (os, "fsync"), (os, "link"), (Path, "replace"), (Path, "open"), (Path, "mkdir"), (Path, "rename")
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, failing(getattr(owner, name)))
    while True:
        counter, fails_at, reached = itertools.count(1), fails_at + 1, 0
        folder = tmp_path / str(fails_at)
        asked = arguments(folder, model)
        code = invoke(asked)
        if reached < fails_at:
            break
        assert code in (1, 2, 3), f"call {fails_at}"  # 3: it failed at what may fail, the pulse
        assert not list((folder / "out" / "results").glob("*.tmp"))
        fails_at_kept, fails_at = fails_at, 0
        assert invoke(asked) == 3, f"call {fails_at_kept}"
        fails_at = fails_at_kept
        assert_whole(folder / "out", expected)
    assert code == 3
    assert fails_at > 60


def test_a_rename_that_succeeded_but_was_said_to_have_failed(
    model: Path, tmp_path: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over NFS, where the answer of the server is lost."""
    original, number, fails_at, code = Path.replace, 0, 0, 1

    def replace(self: Path, target: Path) -> Path:
        nonlocal number
        number += 1
        moved = original(self, target)
        if number == fails_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return moved

    monkeypatch.setattr(Path, "replace", replace)
    while code == 1:
        fails_at, number = fails_at + 1, 0
        asked = arguments(tmp_path / str(fails_at), model)
        code = invoke(asked)
        fails_at_kept, fails_at = fails_at, 0
        assert invoke(asked) == 3
        fails_at = fails_at_kept
        assert_whole(tmp_path / str(fails_at) / "out", expected)
    assert code == 3
    assert fails_at > 10


def test_a_clock_that_runs_backwards_decides_nothing(
    model: Path, tmp_path: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = arguments(tmp_path, model)
    ticks = itertools.count(4_000_000_000, -86400)
    monkeypatch.setattr(time, "time", lambda: float(next(ticks)))
    assert invoke(asked) == 3
    (tmp_path / "out" / "results" / "part-00001.parquet").unlink()
    assert invoke(asked) == 3
    assert_whole(tmp_path / "out", expected)


def test_a_writer_that_was_paused_wakes_after_its_parts_were_redone(
    model: Path, tmp_path: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that was declared dead, and goes on, on a file system without locks: it harms nothing."""
    from memscan.scanner.run import part

    asked, original, paused = arguments(tmp_path, model), part.Part._commit, []
    monkeypatch.setattr(runner, "claimed", lambda *given: contextlib.nullcontext())

    def commit(*given: Any) -> None:
        if not paused:
            paused.append(given)
            assert invoke(asked) == 3  # the replacement does all that is left
            assert_whole(tmp_path / "out", expected)
        original(*given)

    monkeypatch.setattr(part.Part, "_commit", commit)
    assert invoke(asked) == 3
    assert len(paused) == 1
    assert_whole(tmp_path / "out", expected)
