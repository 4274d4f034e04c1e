"""What stands in the way of a bundle is said at the start, before a checkpoint is read."""

import os
import re
from pathlib import Path

import pytest

from memscan.scanner.cli import invoke


def refusal(out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The line of an export of a checkpoint that is not there, to `out`."""
    assert invoke(["export", "no-such-checkpoint/at/all", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_free_name_is_no_obstacle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no folder no-such-checkpoint" in refusal(tmp_path / "out", capsys)


def test_a_link_that_leads_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "gone")
    assert f"{tmp_path / 'out'} is a link that leads nowhere: choose another name" in refusal(tmp_path / "out", capsys)
    assert (tmp_path / "out").is_symlink()


def test_something_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("precious")
    assert f"{tmp_path / 'out'} exists: choose another name" in refusal(tmp_path / "out", capsys)
    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.parametrize("name", ["file/out", "file/below/out"])
def test_a_file_where_a_folder_should_be(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "file").write_text("")
    assert re.search(
        "File exists: .*: choose another name|Not a directory: .*: a part of this path is no folder",
        refusal(tmp_path / name, capsys),
    )


@pytest.mark.parametrize("length", [300, 250])
def test_a_name_that_is_too_long_with_what_is_added_while_writing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], length: int
) -> None:
    assert "choose a shorter name" in refusal(tmp_path / ("x" * length), capsys)


def test_a_loop_of_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "choose another name" in refusal(tmp_path / "loop", capsys)
    assert "choose another name" in refusal(tmp_path / "loop" / "out", capsys)


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    assert f"{tmp_path} is not writable; choose another name" in refusal(tmp_path / "out", capsys)
