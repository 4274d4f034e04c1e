"""What a place is: a path, or the URL of an object store, which shows no secrets and becomes no folder."""

from pathlib import Path

import pytest

from memscan.scanner.errors import UsageError
from memscan.scanner.local_path import local_path
from memscan.scanner.place import Url, is_url, place_of, redacted


@pytest.mark.parametrize(
    ("text", "place"),
    {
        "path": ("a/b", Path("a/b")),
        "colon": ("a:b", Path("a:b")),
        "drive": ("C:/a", Path("C:/a")),
        "key": ("s3://bucket/a/b.csv", Url("s3", "bucket", "a/b.csv")),
        "folder": ("gs://bucket/a/", Url("gs", "bucket", "a")),
        "bucket": ("az://bucket", Url("az", "bucket")),
        "capitals": ("S3://bucket/A", Url("s3", "bucket", "A")),
        "spaces and percents": ("s3://bucket/a b%20c", Url("s3", "bucket", "a b%20c")),
        "swallowed slash": (Path("s3://bucket/a"), Url("s3", "bucket", "a")),
        "file": ("file:///a%20b/c", Path("/a b/c")),
        "file with a host": ("file://localhost/a", Path("/a")),
        "file, one slash": ("file:/a", Path("/a")),
    }.values(),
)
def test_place_of_a_text(text: str | Path, place: Path | Url) -> None:
    assert place_of(text) == place


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("https://x.org/a", "is a URL of a kind that is not supported: give a path, file://, s3://, gs://, az://"),
        ("hf://datasets/x", "of a kind that is not supported"),
        ("s3:/", "names no bucket"),
        ("s3:///a", "names no bucket"),
        ("s3://-b/a", "names no bucket"),
        ("s3://b//a", "has a part that is empty"),
        ("s3://b/a/../c", "has a part that is empty, . or .."),
        ("s3://b/a?versionId=1", "holds more than a bucket and a key"),
        ("s3://k:x@b/a", "holds more than a bucket and a key"),
        ("file://elsewhere/a", "is a file of another machine"),
    ],
)
def test_what_is_no_place_is_refused(text: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        place_of(text)


def test_url_leads_on_like_a_path() -> None:
    url = Url("s3", "bucket") / "a" / "day=1/b.parquet"
    assert str(url) == "s3://bucket/a/day=1/b.parquet"
    assert (url.name, url.suffix, url.parts) == ("b.parquet", ".parquet", ("a", "day=1", "b.parquet"))
    assert (str(url.parent), str(url.parent.parent.parent), url.top) == (
        "s3://bucket/a/day=1",
        "s3://bucket",
        Url("s3", "bucket"),
    )
    assert sorted([url, Url("s3", "bucket", "a")])[0] == Url("s3", "bucket", "a")


def test_a_place_of_this_machine_is_demanded_where_a_store_will_not_do() -> None:
    assert local_path("file:///a") == Path("/a")
    with pytest.raises(UsageError, match=r"^s3://b/a is a URL: only paths of this machine are supported here$"):
        local_path("s3://b/a")


def test_only_both_slashes_make_a_url_of_what_may_be_a_name() -> None:
    assert is_url("s3://b/a")
    assert not is_url("s3:/m.parquet")
    assert not is_url("a b://c")


def test_secrets_are_not_shown() -> None:
    shown = redacted("GET https://me:sekrit@x.org/a?sig=sekrit&x=1 and s3:/k:sekrit@b/c")
    assert shown == "GET https://***@x.org/a?*** and s3:/***@b/c"
