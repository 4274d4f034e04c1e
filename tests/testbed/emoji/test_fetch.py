"""Only the published tarball is used; what it shows is read from it; and every failure is one line."""

import io
import json
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from testbed.emoji import fetch as module
from testbed.emoji.fetch import ARTWORK, SIDE, TARBALL, FetchError, check, fetch, tarball, unpack


def packed(folder: Path) -> Path:
    """A package of two emoji, red and green, of which Google drew the second alone."""
    file = folder / TARBALL
    records = [
        {"name": "RED", "category": "A", "image": "red.png", "has_img_google": False},
        {"name": "GREEN", "category": "B", "image": "green.png", "has_img_google": True},
    ]
    contents = {"package/emoji.json": json.dumps(records).encode(), "package/README.md": b"read me"}
    for name, colour in (("red", (255, 0, 0, 255)), ("green", (0, 255, 0, 128))):
        stream = io.BytesIO()
        Image.new("RGBA", (SIDE, SIDE), colour).save(stream, "PNG")
        contents[f"package/img/google/64/{name}.png"] = stream.getvalue()
    with tarfile.open(file, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


def npm(folder: Path, script: str) -> None:
    """A stand-in for npm in a folder of its own."""
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_what_google_drew_is_unpacked(tmp_path: Path) -> None:
    records, pictures = unpack(packed(tmp_path))
    assert records == [{"name": "GREEN", "category": "B", "image": "green.png"}]
    assert pictures.shape == (1, SIDE, SIDE, 4)
    assert pictures[0, 0, 0].tolist() == [0, 255, 0, 128]


def test_another_tarball_is_refused_and_left(tmp_path: Path) -> None:
    file = packed(tmp_path)
    with pytest.raises(FetchError, match=r"is not the published emoji-datasource-google@16\.0\.0: its SHA-512 is"):
        fetch(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_the_artwork_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "check", lambda _: None)
    file = packed(tmp_path)
    out = fetch(tmp_path)
    with np.load(out) as stored:
        assert (stored["name"].tolist(), stored["category"].tolist()) == (["GREEN"], ["B"])
    file.unlink()
    assert fetch(tmp_path) == out == tmp_path / ARTWORK


def test_the_published_hash_is_what_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    sha = "3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw=="  # FIPS 180-4
    monkeypatch.setattr(module, "INTEGRITY", sha)
    check(file)
    file.write_bytes(b"abd")
    with pytest.raises(FetchError, match="move it away and fetch again"):
        check(file)


def test_npm_is_missing_or_fails_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    said = re.escape("npm is not installed: install it, or put emoji-datasource-google-16.0.0.tgz into ")
    with pytest.raises(FetchError, match=f"^{said}"):
        tarball(tmp_path)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.defpath}")
    npm(programs, "echo a; echo npm error E404 >&2; exit 1")
    said = re.escape("`npm pack emoji-datasource-google@16.0.0 --silent` failed: npm error E404")
    with pytest.raises(FetchError, match=f"^{said}$"):
        tarball(tmp_path)


def test_npm_packs_into_the_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, work = tmp_path / "bin", tmp_path / "work"
    programs.mkdir()
    work.mkdir()
    npm(programs, f'[ "$*" = "pack emoji-datasource-google@16.0.0 --silent" ] && echo > {TARBALL}')
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.defpath}")
    monkeypatch.setattr(module, "check", lambda _: None)
    assert tarball(work) == work / TARBALL
    assert (work / TARBALL).exists()
