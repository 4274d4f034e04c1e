"""The folder of plans: what is found in it, what is not, and who may have written there."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from memscan.scanner.errors import EnvironmentFailed
from memscan.scanner.runtimes.tensorrt.cache import Plan, PlanCache, default_folder
from memscan.scanner.runtimes.tensorrt.interface import Interface, Tensor
from memscan.scanner.runtimes.tensorrt.key import PlanKey

KEY = PlanKey("tensorrt", "10.13.3", "NVIDIA H200", ("9.0",), 8, "a" * 64)
INTERFACE = Interface({"sample": Tensor("float32", (-1, 4))}, {"eps": Tensor("float32", (-1, 4))})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "some" / "plans"


@pytest.fixture
def cache(folder: Path) -> PlanCache:
    return PlanCache(folder)


def store(cache: PlanCache, key: PlanKey = KEY, content: bytes = b"plan") -> Plan:
    return cache.store(key, INTERFACE, memoryview(content))


def test_a_plan_is_found_as_it_was_stored(cache: PlanCache, folder: Path) -> None:
    assert cache.find(KEY) is None
    stored = store(cache)
    found = PlanCache(folder).find(KEY)
    assert found == stored
    assert found is not None
    assert found.interface == INTERFACE
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".plan"]


def test_the_folder_is_for_its_owner_alone(cache: PlanCache, folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_plan_with_another_key_is_not_found(cache: PlanCache) -> None:
    store(cache)
    assert cache.find(dataclasses.replace(KEY, version="10.14.1")) is None


def test_the_plan_for_the_smallest_sufficient_batch_is_taken(cache: PlanCache) -> None:
    for batch in (16, 4, 8):
        store(cache, dataclasses.replace(KEY, batch_size=batch), str(batch).encode())
    found = cache.find(dataclasses.replace(KEY, batch_size=5))
    assert found is not None
    assert bytes(found.content) == b"8"


@pytest.mark.parametrize("content", [b"plaN", b"pla", b""], ids=["altered", "truncated", "empty"])
def test_a_plan_without_its_digest_is_not_found_until_it_is_stored_again(
    cache: PlanCache, folder: Path, content: bytes
) -> None:
    store(cache)
    (folder / f"{KEY.digest()}.plan").write_bytes(content)
    assert cache.find(KEY) is None
    store(cache)
    assert cache.find(KEY) is not None


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"key": {}, "sha256": "", "interface": {}}'])
def test_a_garbled_record_is_as_if_it_were_not_there(cache: PlanCache, folder: Path, content: str) -> None:
    store(cache)
    (folder / f"{KEY.digest()}.json").write_text(content)
    assert cache.find(KEY) is None


def test_a_record_under_another_name_leads_to_no_plan(cache: PlanCache, folder: Path) -> None:
    """The plan of a record is the file named by the key's digest, whatever the record's own file is called."""
    store(cache)
    record = json.loads((folder / f"{KEY.digest()}.json").read_text())
    record["key"]["version"] = "10.14.1"
    (folder / "other.json").write_text(json.dumps(record))
    assert cache.find(dataclasses.replace(KEY, version="10.14.1")) is None


def test_a_plan_without_a_record_is_not_found(cache: PlanCache, folder: Path) -> None:
    store(cache)
    (folder / f"{KEY.digest()}.json").unlink()
    assert cache.find(KEY) is None


def test_a_write_that_fails_leaves_the_old_file(
    cache: PlanCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(cache)

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        store(cache, content=b"new plan")
    monkeypatch.undo()
    found = cache.find(KEY)
    assert found is not None
    assert bytes(found.content) == b"plan"
    assert not list(folder.glob("*.tmp"))


def test_two_writers_do_not_share_a_temporary_file(
    cache: PlanCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where locks do nothing, a second process may write the same plan meanwhile: whole plans come out."""
    original = os.fsync

    def write_meanwhile(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", original)
        PlanCache(folder).write("a", b"second")
        assert cache.read("a") == b"second"
        original(descriptor)

    monkeypatch.setattr(os, "fsync", write_meanwhile)
    cache.write("a", b"first")
    assert cache.read("a") == b"first"
    assert not list(folder.glob("*.tmp"))


def owned_by(uid: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = list(folder.lstat())
    status[4] = uid
    monkeypatch.setattr(Path, "lstat", lambda path: os.stat_result(status))
    monkeypatch.setattr(os, "geteuid", lambda: 1234)


def test_another_users_folder_is_refused(folder: Path, cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
    owned_by(4321, folder, monkeypatch)
    with pytest.raises(EnvironmentFailed) as caught:
        PlanCache(folder)
    assert str(caught.value) == (
        f"{folder} belongs to another user (uid 4321): plans are code, so choose another --cache"
    )


@pytest.mark.parametrize("uid", [0, 1234], ids=["root", "own"])
def test_roots_folder_is_as_good_as_ones_own(
    folder: Path, cache: PlanCache, monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    """Plans that were built into a container's image belong to root, whoever runs it."""
    store(cache)
    owned_by(uid, folder, monkeypatch)
    assert PlanCache(folder).find(KEY) is not None


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(folder: Path, cache: PlanCache, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(EnvironmentFailed) as caught:
        PlanCache(folder)
    assert str(caught.value) == (f"{folder} can be written by others: plans are code, so run chmod go-w {folder}")


def test_a_link_to_a_folder_is_refused(folder: Path, cache: PlanCache, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(EnvironmentFailed, match=r"link is no folder of its own: plans are code"):
        PlanCache(tmp_path / "link")


def test_one_process_at_a_time_holds_a_lock(cache: PlanCache, folder: Path) -> None:
    waits: list[str] = []

    def stop_waiting() -> None:
        waits.append("waited")
        raise TimeoutError

    with cache.locked("a"):
        with cache.locked("b", stop_waiting):
            pass
        with pytest.raises(TimeoutError), PlanCache(folder).locked("a", stop_waiting):
            pass
    assert waits == ["waited"]
    with cache.locked("a", stop_waiting):
        pass


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_the_default_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert default_folder() == Path("/home/someone/.cache/memscan/plans")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert default_folder() == Path("/elsewhere/memscan/plans")
