"""The store in an object store, by a server that does what stores in the field do: ignore, lose, delay and conflict."""

import datetime
import errno
import subprocess
import sys
from collections.abc import Iterator

import pytest

from memscan.scanner.errors import EnvironmentFailed
from memscan.scanner.objects import client
from memscan.scanner.objects.client import Objects
from memscan.scanner.place import Url
from memscan.scanner.results import layout
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.object_store import ObjectStore
from tests.scanner.objects.conftest import SECRET, named
from tests.scanner.objects.fake_s3 import FakeS3, serving

PLACE = Url("s3", "bucket", "night")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    with serving() as server:
        named(server.endpoint, monkeypatch)
        monkeypatch.setattr(client, "_ALONE", 1)
        monkeypatch.setattr(client, "_PATIENCE", datetime.timedelta(seconds=5))
        yield server


@pytest.fixture
def store(server: FakeS3) -> ObjectStore:
    return ObjectStore(PLACE)


def put(store: ObjectStore, name: str, content: bytes) -> None:
    with store.writing(name) as stream:
        stream.write(content)


def read(store: ObjectStore, name: str) -> bytes:
    with store.open(name) as stream:
        return stream.read()


def test_names_begin_with_a_prefix_and_are_sorted(store: ObjectStore) -> None:
    for name in ("b/2", "b/1/x", "a", "b/10"):
        put(store, name, b"1")
    ObjectStore(Url("s3", "bucket", "nights")).create("b/2", b"of another run")
    assert list(store.names("b/")) == ["b/1/x", "b/10", "b/2"]
    assert list(store.names("b/1")) == ["b/1/x", "b/10"]
    assert list(store.names("c/")) == []


def test_file_appears_when_it_is_whole(store: ObjectStore) -> None:
    with store.writing("a/b") as stream:
        stream.write(b"half")
        assert list(store.names("")) == []
        stream.write(b" whole")
    with pytest.raises(RuntimeError, match="no more"), store.writing("a/b") as stream:
        stream.write(b"other")
        raise RuntimeError("no more")
    assert read(store, "a/b") == b"half whole"


def test_file_larger_than_a_request_is_whole(store: ObjectStore) -> None:
    with store.writing("a") as stream:
        for _ in range(4):
            stream.write(bytes(1 << 20))
        stream.write(b"end")
    with store.open("a") as stream:
        stream.seek(-3, 2)
        assert stream.read() == b"end"
        stream.seek(0)
        assert len(stream.read()) == (4 << 20) + 3


def test_files_written_together_are_there_when_the_block_ends(store: ObjectStore) -> None:
    with store.together() as files:
        for number in range(40):
            files.write(f"images/0/{number}", str(number).encode())
    assert [read(store, f"images/0/{number}") for number in range(40)] == [str(number).encode() for number in range(40)]


def test_file_that_is_replaced_while_it_is_read_is_no_mixture(store: ObjectStore) -> None:
    put(store, "a", bytes(3 << 20))
    with store.open("a") as stream:
        assert stream.read(10) == bytes(10)
        put(store, "a", b"1" * (3 << 20))
        with pytest.raises(OSError, match="it was replaced while it was read") as error:
            stream.read()
    assert error.value.errno == errno.ESTALE


@pytest.mark.parametrize("kind", ["honours", "ignores", "refuses"])
def test_start_finds_out_whether_the_first_of_two_is_kept(kind: str, store: ObjectStore, server: FakeS3) -> None:
    server.faults.ignores_if_none_match, server.faults.refuses_if_none_match = kind == "ignores", kind == "refuses"
    remark = store.prepare()
    assert (remark is None) == (kind == "honours")
    assert remark is None or remark.startswith(f"{PLACE} does not keep the first of two objects (If-None-Match)")
    assert server.objects == {}
    assert store.create("run.json", b"first")
    assert not store.create("run.json", b"second")
    assert read(store, "run.json") == b"first"


@pytest.mark.parametrize("fault", ["conflicts", "lost_answers"])
@pytest.mark.parametrize("times", [1, 2])
def test_whoever_creates_a_file_is_told_so_though_the_answer_is_lost(
    fault: str, times: int, store: ObjectStore, server: FakeS3
) -> None:
    """A try is made anew by the client; its precondition fails by the object that the first try put."""
    setattr(server.faults, fault, times)
    assert store.create("run.json", b"content")
    assert read(store, "run.json") == b"content"
    assert not ObjectStore(PLACE).create("run.json", b"content")


def test_answer_that_is_lost_to_a_commit_is_no_loss(store: ObjectStore, server: FakeS3) -> None:
    server.faults.lost_answers = 1
    put(store, "results/part-00000.parquet", b"content")
    assert read(store, "results/part-00000.parquet") == b"content"


def test_what_is_set_aside_is_kept_under_names_of_its_own(store: ObjectStore) -> None:
    asides = []
    for content in (b"1", b"2"):
        put(store, "results/part-00000.parquet", content)
        asides.append(store.set_aside("results/part-00000.parquet"))
    assert [read(store, name) for name in asides] == [b"1", b"2"]
    assert list(store.names("results/")) == []


def test_only_an_empty_file_is_taken_back(store: ObjectStore) -> None:
    store.retract("a")
    put(store, "a", b"")
    store.retract("a")
    assert list(store.names("")) == []
    put(store, "a", b"precious")
    store.retract("a")
    assert [read(store, name) for name in store.names("")] == [b"precious"]


def test_mark_of_success_is_looked_up_without_a_listing(store: ObjectStore, server: FakeS3) -> None:
    folder = OutputFolder(store)
    assert not folder.complete
    folder.mark_complete()
    assert folder.complete
    assert not [request for request in server.requests if request.startswith("LIST")]
    assert server.objects[f"bucket/night/{layout.SUCCESS}"][0] == b""


def test_store_that_is_not_there_is_one_line_without_secrets(
    monkeypatch: pytest.MonkeyPatch, store: ObjectStore, server: FakeS3
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    away = ObjectStore(Url("s3", "bucket", "away"))
    with pytest.raises(OSError, match="error sending request") as error:
        away.create("run.json", b"1")
    assert error.value.errno == client.REMOTE
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)


def test_without_obstore_a_url_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(EnvironmentFailed, match=r"object stores need obstore .*: pip install 'memscan\[cloud\]'$"):
        Objects(PLACE)


def test_local_scan_imports_no_client() -> None:
    program = """
import sys
from memscan.scanner.cli import invoke
assert invoke(["run", "--prompt", "a mug", "--out", "ftp://x/y"]) == 2
import memscan.scanner.api, memscan.scanner.run.runner, memscan.scanner.results.status
taken = {"obstore", "ray", "boto3", "fsspec", "requests", "http.client"} & set(sys.modules)
assert not taken, taken
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
