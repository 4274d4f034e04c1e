"""Image paths: regular files inside one folder, whatever a manifest says."""

import os
import socket
from pathlib import Path

import pytest

from memscan.scanner.errors import RowError
from memscan.scanner.input import image_files
from memscan.scanner.input.columns import Columns
from memscan.scanner.input.image_files import read_image_file
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.input.reading import Reading
from memscan.scanner.input.rows import parse_row
from memscan.scanner.samples import Sample


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.png").write_bytes(b"secret")
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"pixels")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "inside.png").symlink_to("sub/../a.png")
    (folder / "outside.png").symlink_to("../secret.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "pipe.png")
    return folder


@pytest.mark.parametrize("path", ["a.png", "./a.png", "sub/../a.png", "inside.png", "{root}/a.png", "../in/a.png"])
def test_a_file_inside_is_read(path: str, root: Path) -> None:
    assert read_image_file(path.format(root=root), root) == b"pixels"


def test_names_that_look_like_something_else_are_read(root: Path) -> None:
    for name in ("a:b[1]*.png", "caf\u00e9.png", "data.png"):
        (root / name).write_bytes(b"pixels")
        assert read_image_file(name, root) == b"pixels"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("../secret.png", r"^the image \.\./secret\.png lies outside of .*: --image-root names another folder$"),
        ("{root}/../secret.png", "lies outside of"),
        ("outside.png", "lies outside of"),
        ("up/secret.png", "lies outside of"),
        ("/etc/passwd", "lies outside of"),
        ("/dev/zero", "lies outside of"),
        ("zero.png", "lies outside of"),
        ("gone.png", r"^no such image: gone\.png$"),
        ("a.png/b.png", r"^the image a\.png/b\.png cannot be read: Not a directory$"),
        ("sub", r"^the image sub cannot be read: Is a directory$"),
        ("loop.png", r"^the image loop\.png cannot be read: Too many levels of symbolic links$"),
        ("pipe.png", r"^the image pipe\.png is no regular file$"),
        ("x" * 4000, r"^the image x{97}\.\.\. cannot be read: File name too long$"),
        ("x/" * 4000, "cannot be read: File name too long|no such image"),
        (
            "data:image/png;base64," + "A" * 4000,
            r"^the image data:image/png;base64,A+\.\.\. is a URL: store it as a file",
        ),
        ("https://example.org/a.png", "is a URL"),
        ("file:///etc/passwd", "is a URL"),
        ("a\0b", "is no path: embedded null byte"),
        ("\ud800", "is no path: it holds half a surrogate pair"),
    ],
)
def test_everything_else_is_an_error_of_its_row(path: str, error: str, root: Path) -> None:
    with pytest.raises(RowError, match=error):
        read_image_file(path.format(root=root), root)


def test_a_socket_and_a_device_are_never_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)  # the path of a socket may have some hundred characters only
    socket.socket(socket.AF_UNIX).bind("socket.png")
    monkeypatch.setattr(os, "open", lambda *args: pytest.fail("opened"))
    for path in ("in/socket.png", "in/pipe.png"):
        with pytest.raises(RowError, match=r"is no regular file$"):
            read_image_file(path, root.parent)
    with pytest.raises(RowError, match=r"^the image /dev/zero is no regular file$"):
        read_image_file("/dev/zero", Path("/"))


def test_a_file_beyond_the_bound_is_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_IMAGE", 5)
    with pytest.raises(RowError, match=r"^the image a\.png has 6 bytes, more than 5$"):
        read_image_file("a.png", root)
    monkeypatch.setattr(image_files, "MAX_IMAGE", 6)
    assert read_image_file("a.png", root) == b"pixels"


def test_a_file_that_lies_about_its_size_is_not_read_without_end() -> None:
    with pytest.raises(RowError, match=r"has another size than its folder says$"):
        read_image_file("/proc/self/status", Path("/"))


def test_the_root_is_the_folder_of_the_manifest_or_the_one_that_is_named(root: Path) -> None:
    (root / "m.csv").write_text("prompt,image\na mug,a.png\na mug,../secret.png\n")
    given = open_manifest(str(root / "m.csv"))
    named = open_manifest(str(root / "m.csv"), Columns(), Reading(image_root=root.parent))
    outcomes = []
    for manifest in (given, named):
        items = [parse_row(i, raw).items[0] for i, raw in enumerate(manifest.rows())]
        outcomes.append(
            [item.image if isinstance(item, Sample) else item.error.partition(" lies")[0] for item in items]
        )
        assert all(item.image_given for item in items)
    assert outcomes[0] == [b"pixels", "the image ../secret.png"]
    assert outcomes[1] == ["no such image: a.png", "no such image: ../secret.png"]
    assert read_image_file("secret.png", root.parent) == b"secret"
