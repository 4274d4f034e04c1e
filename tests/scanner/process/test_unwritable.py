"""An `--out` that cannot be written is a wrong usage, exit code 2 with the path, in every command that writes."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memscan.scanner.cli import invoke

COMMANDS: dict[str, list[str]] = {
    "run": ["run", "--prompt", "a city", "--model", "MODEL", "--step", "9", "--out", "LOCKED/out"],
    "run, into a folder that is there": [
        "run",
        "--prompt",
        "a rug",
        "--model",
        "MODEL",
        "--step",
        "9",
        "--out",
        "DONE",
    ],
    "show": ["show", "DONE"],
    "show --out": ["show", "DONE", "--out", "LOCKED/sheet.png"],
    "eval": ["eval", "DONE", "--ground-truth", "TRUTH", "--json", "LOCKED/figures.json"],
    "demo": ["demo", "--out", "LOCKED/demo"],
    "export": ["export", "PIPELINE", "LOCKED/bundle"],
    "export, into a folder that is to be made": ["export", "PIPELINE", "LOCKED/new/bundle"],
    "build": ["build", "MODEL", "--engine", "tensorrt-rtx", "--cache", "LOCKED/plans"],
}


@pytest.fixture
def places(analytic: Path, tiny_pipeline: Path, tmp_path: Path) -> dict[str, str]:
    """What the words in capitals stand for; a run is done in DONE, which like LOCKED is locked by `lock`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    locked = tmp_path / "locked"
    locked.mkdir()
    done = locked / "done"
    assert invoke(["run", "--prompt", "a city", "--model", str(analytic), "--step", "9", "--out", str(done)]) == 0
    pq.write_table(pa.table({"prompt": ["a city"], "kind": ["none"]}), tmp_path / "truth.parquet")
    names = {"MODEL": analytic, "PIPELINE": tiny_pipeline, "LOCKED": locked, "DONE": done}
    return {name: str(path) for name, path in names.items()} | {"TRUTH": str(tmp_path / "truth.parquet")}


def lock(folder: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be made or opened for writing in a folder: the system says the error of this `number`."""

    def guarded(original: Callable[..., Any], writes: Callable[..., bool]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if (
                isinstance(path, str | os.PathLike)
                and os.fspath(path).startswith(folder)
                and writes(*arguments, **options)
            ):
                raise OSError(number, os.strerror(number), os.fspath(path))
            return original(path, *arguments, **options)

        return call

    def for_writing(mode: str = "r", *_: Any, **__: Any) -> bool:
        return not set(mode).isdisjoint("wax+")

    def flags_for_writing(flags: int, *_: Any, **__: Any) -> bool:
        return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

    monkeypatch.setattr(io, "open", guarded(io.open, for_writing))
    monkeypatch.setattr(os, "open", guarded(os.open, flags_for_writing))
    monkeypatch.setattr(os, "mkdir", guarded(os.mkdir, lambda *_, **__: True))
    monkeypatch.setattr(os, "access", guarded(os.access, lambda mode: bool(mode & os.W_OK)))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES], ids=["EROFS", "EACCES"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_that_cannot_be_written_is_wrong_usage(
    name: str,
    number: int,
    places: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = []
    for word in COMMANDS[name]:
        head, _, rest = word.partition("/")
        words.append(places.get(head, head) + (f"/{rest}" if rest else ""))
    monkeypatch.setenv("XDG_CACHE_HOME", places["LOCKED"])
    lock(places["LOCKED"], number, monkeypatch)
    capsys.readouterr()
    code = invoke(words)
    line = capsys.readouterr().err.splitlines()[-1]
    assert code == 2, line
    assert line.startswith("memscan: error: ")
    assert places["LOCKED"] in line
    assert os.strerror(number) in line or "is not writable" in line
