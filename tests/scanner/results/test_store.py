"""The local store: whole files or none, nothing deleted, nobody else's half-written files touched."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memscan.scanner.results import layout
from memscan.scanner.results.store import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "out")


def put(store: LocalStore, name: str, content: bytes) -> None:
    with store.writing(name) as stream:
        stream.write(content)


def read(store: LocalStore, name: str) -> bytes:
    with store.open(name) as stream:
        return stream.read()


def everything(store: LocalStore) -> list[str]:
    return list(store.names(""))


def test_names_begin_with_a_prefix_and_are_sorted(store: LocalStore) -> None:
    for name in ("b/2", "b/1/x", "a", "b/10"):
        put(store, name, b"")
    assert list(store.names("b/")) == ["b/10", "b/2", "b/1/x"]
    assert list(store.names("b/1")) == ["b/10", "b/1/x"]
    assert list(store.names("c/")) == []


def test_file_appears_when_it_is_whole(store: LocalStore) -> None:
    with store.writing("a/b") as stream:
        stream.write(b"half")
        assert list(store.names("a/")) == []
        stream.write(b" whole")
    assert read(store, "a/b") == b"half whole"
    with pytest.raises(RuntimeError, match="no more"), store.writing("a/b") as stream:
        stream.write(b"other")
        raise RuntimeError("no more")
    assert read(store, "a/b") == b"half whole"
    assert everything(store) == ["a/b"]


def test_files_written_together_appear_together(store: LocalStore) -> None:
    with store.together() as files:
        files.write("images/0/a", b"1")
        files.write("images/1/a", b"2")
        assert list(store.names("images/")) == []
    assert [read(store, f"images/{n}/a") for n in range(2)] == [b"1", b"2"]
    with pytest.raises(RuntimeError, match="no more"), store.together() as files:
        files.write("images/2/a", b"3")
        raise RuntimeError("no more")
    assert everything(store) == ["images/0/a", "images/1/a"]


def test_files_written_together_flush_each_folder_once(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    with store.together() as files:
        for n in range(20):
            files.write(f"images/00000/{n}", b"1")
        monkeypatch.setattr("memscan.scanner.results.store._sync_folder", flushed.append)
    assert flushed.count(store.path / "images" / "00000") == 1


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_one_of_two_creates_a_file(store: LocalStore, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:

        def link(source: Path, target: Path) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
    assert store.create("a/run.json", b"first")
    assert not store.create("a/run.json", b"second")
    assert read(store, "a/run.json") == b"first"
    assert everything(store) == ["a/run.json"]


def test_what_is_set_aside_is_kept_under_names_of_its_own(store: LocalStore) -> None:
    asides = []
    for content in (b"1", b"2"):
        put(store, "results/part-00000.parquet", content)
        asides.append(store.set_aside("results/part-00000.parquet"))
    assert [read(store, name) for name in asides] == [b"1", b"2"]
    assert all(name.startswith("_memscan/damaged/results/part-00000.parquet-") for name in asides)
    assert list(store.names("results/")) == []


def test_only_an_empty_file_is_taken_back(store: LocalStore) -> None:
    store.retract("a")
    put(store, "a", b"")
    store.retract("a")
    assert everything(store) == []
    put(store, "a", b"precious")
    store.retract("a")
    assert [read(store, name) for name in everything(store)] == [b"precious"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP])
def test_folder_that_refuses_to_be_flushed_is_no_failed_disk(
    store: LocalStore, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", _of_folders(lambda: OSError(number, "refused")))
    put(store, "a/b", b"1")
    with store.together() as files:
        files.write("a/c", b"2")
    assert store.create("a/d", b"3")
    assert [read(store, name) for name in everything(store)] == [b"1", b"2", b"3"]


def test_folder_whose_flush_fails_is_an_error(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", _of_folders(lambda: OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        put(store, "a/b", b"1")


def _of_folders(error: Callable[[], OSError]) -> Callable[[int], None]:
    original = os.fsync

    def fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            raise error()
        original(descriptor)

    return fsync


def test_folder_that_cannot_be_listed_is_not_an_empty_one(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "results/part-00000.parquet", b"1")

    def scandir(folder: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(OSError, match="Input/output error"):
        list(store.names("results/"))


@pytest.mark.parametrize("number", [0, 7, 99_999, 100_000])
def test_layout_finds_the_part_of_its_own_names(number: int) -> None:
    assert layout.part_number(layout.results_part(number)) == number
    assert layout.part_number(layout.maps_part(number)) == number
    assert layout.part_of_image(layout.image(number, layout.image_name(3, 2**63 - 1))) == number


@pytest.mark.parametrize(
    "name",
    ["results/part-1.parquet", "results/part-000001.parquet", "results/a/part-00001.parquet", "x/part-00001.parquet"],
)
def test_layout_takes_no_other_name_for_a_part(name: str) -> None:
    assert layout.part_number(name) is None
