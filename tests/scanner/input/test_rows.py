"""What a manifest row may say, and the exact reason when it cannot be scanned."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from memscan.scanner.input.rows import MAX_SEED, RawRow, Row, Unreadable, parse_row
from memscan.scanner.samples import Rejected, Sample


def parse(**values: Any) -> Row:
    return parse_row(7, RawRow(**{"folder": Path(), "prompt": "a mug", **values}))


def error_of(row: Row) -> str:
    (item,) = row.items
    assert isinstance(item, Rejected)
    return item.error


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (None, [0]),
        (float("nan"), [0]),  # pandas' missing number
        (5, [5]),
        (5.0, [5]),  # pandas' integer beside a missing number
        (MAX_SEED, [MAX_SEED]),
        ([3, 1, 3], [3, 1]),  # one key, one image
    ],
)
def test_seed_gives_one_sample_for_each_distinct_value(seed: Any, expected: list[int]) -> None:
    row = parse(seed=seed, id=12)
    assert list(row.items) == [Sample(7, value, "a mug", "12") for value in expected]


@pytest.mark.parametrize(
    ("seed", "error"),
    [
        (-1, "the seed -1 is outside 0 to 9223372036854775807"),
        (2**63, "the seed 9223372036854775808 is outside 0 to 9223372036854775807"),
        ("five", "the seed is not an integer but 'five'"),
        (True, "the seed is not an integer but True"),
        (1.5, "the seed is not an integer but 1.5"),
        (
            2.0**60,
            "the seed is not an integer but 1.152921504606847e+18",
        ),  # a float that large has lost its last digits
        ([], "the list of seeds is empty"),
        ([1, None], "the seed is not an integer but None"),
    ],
)
def test_bad_seed_rejects_the_row_under_seed_zero(seed: Any, error: str) -> None:
    row = parse(seed=seed)
    assert list(row.items) == [Rejected(7, 0, "a mug", error)]


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        (None, "the prompt is null"),
        ("", "the prompt is empty"),
        (" \t\n", "the prompt is empty"),
        (5, "the prompt is not text but 5"),
    ],
)
def test_bad_prompt_rejects_the_row_once_for_each_seed(prompt: Any, error: str) -> None:
    row = parse(prompt=prompt, seed=[4, 5])
    shown = prompt if isinstance(prompt, str) else None
    assert list(row.items) == [Rejected(7, 4, shown, error), Rejected(7, 5, shown, error)]


def test_what_the_file_could_not_give_is_the_error() -> None:
    assert error_of(parse(prompt=None, problem="line 3 is not JSON:\n  oops")) == "line 3 is not JSON: oops"


@pytest.mark.parametrize(
    ("value", "text"),
    [("x", "x"), (3, "3"), (None, None), (b"caf\xc3\xa9", "caf\u00e9"), (b"\xff", "\\xff")],
)
def test_id_becomes_text(value: Any, text: str | None) -> None:
    assert parse(id=value).items[0].id == text


def test_image_is_read_relative_to_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"pixels")
    for image in ("a.png", b"pixels", {"bytes": None, "path": "a.png"}, {"bytes": b"pixels", "path": "gone.png"}):
        (item,) = parse(image=image, folder=tmp_path).items
        assert isinstance(item, Sample)
        assert item.image == b"pixels"


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ("gone.png", "no such image: gone.png"),
        (".", "the image . cannot be read: Is a directory"),
        ("a\0b", "the image path 'a\\x00b' is no path: embedded null byte"),
        (3, "the image is neither bytes nor a path but 3"),
        ({"bytes": "aGk=", "path": None}, "the image's bytes are text: give a path, or Parquet with bytes"),
        ({"bytes": None}, "the image has neither bytes nor a path"),
        ({}, "the image has neither bytes nor a path"),
    ],
)
def test_bad_image_rejects_the_row(image: Any, error: str, tmp_path: Path) -> None:
    assert error_of(parse(image=image, folder=tmp_path)) == error


@pytest.mark.parametrize("image", [None, float("nan"), "", " "])
def test_image_that_is_missing_is_sampled(image: Any) -> None:
    (item,) = parse(image=image).items
    assert isinstance(item, Sample)
    assert not item.image_given


@pytest.mark.parametrize("image", ["gone.png", {"bytes": None, "path": None}, {"url": "x"}, {}, 3, b""])
def test_image_that_is_given_is_said_to_be_so_though_it_be_bad(image: Any, tmp_path: Path) -> None:
    assert parse(image=image, folder=tmp_path).items[0].image_given


def test_image_may_be_left_unread() -> None:
    raw = RawRow(Path(), "a mug", image="gone.png")
    assert isinstance(parse_row(0, raw, read_image=False).items[0], Sample)


def test_digest_changes_with_everything_that_a_row_asks_for(tmp_path: Path) -> None:
    nanosecond = pa.scalar(1, pa.timestamp("ns"))
    base: dict[str, Any] = {"seed": 1, "id": "x", "image": "a.png", "carried": {"k": nanosecond}, "folder": tmp_path}
    variants = [
        base,
        base | {"prompt": "a rug"},
        base | {"prompt": None},
        base | {"prompt": 5},
        base | {"prompt": 6},
        base | {"seed": 2},
        base | {"seed": "two"},
        base | {"seed": "three"},
        base | {"problem": "line 3 is not JSON"},
        base | {"problem": "line 4 is not JSON"},
        base | {"id": "y"},
        base | {"image": None},
        base | {"image": b""},
        base | {"image": b"one"},
        base | {"image": "b.png"},
        base | {"image": {"bytes": None, "path": "a.png"}},
        base | {"image": Unreadable("is not UTF-8", "a")},
        base | {"carried": {"k": pa.scalar(2, pa.timestamp("ns"))}},
        base | {"carried": {"other": nanosecond}},
    ]
    digests = [parse(**values).digest for values in variants]
    assert len(set(digests)) == len(digests)


def test_what_becomes_of_a_row_is_not_in_its_digest(tmp_path: Path) -> None:
    rows = [parse(image="a.png", folder=tmp_path)]
    for content in (b"one", b"two"):
        (tmp_path / "a.png").write_bytes(content)
        rows.append(parse(image="a.png", folder=tmp_path))
    assert [type(row.items[0]) for row in rows] == [Rejected, Sample, Sample]
    assert len({row.digest for row in rows}) == 1
    gone, one, two = (row.pictures for row in rows)
    assert gone == {}
    assert one == {7: hashlib.sha256(b"one").hexdigest()[:32]}
    assert two != one


def test_pictures_that_are_shown_to_the_denoiser_are_read_as_the_image_is(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"mask")
    row = parse(folder=tmp_path, condition_image=b"picture", condition_mask="mask.png", seed=[1, 2])
    assert [(item.condition_image, item.condition_mask) for item in row.items if isinstance(item, Sample)] == [
        (b"picture", b"mask"),
        (b"picture", b"mask"),
    ]
    assert error_of(parse(folder=tmp_path, condition_mask="gone.png")) == "condition_mask: no such image: gone.png"
    assert parse(condition_image=float("nan"), condition_mask=" ") == parse()


def test_digests_of_a_row_and_of_its_pictures_cover_what_is_shown(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"mask")
    rows = [
        parse(folder=tmp_path, **pictures)
        for pictures in (
            {},
            {"image": b"a"},
            {"condition_image": b"a"},
            {"condition_image": b"b"},
            {"condition_mask": b"a"},
            {"condition_image": b"a", "condition_mask": "mask.png"},
        )
    ]
    assert len({row.digest for row in rows}) == len(rows)
    assert len({row.picture for row in rows}) == len(rows)
    assert rows[0].pictures == {}
    by_path = parse(folder=tmp_path, condition_mask="mask.png")
    (tmp_path / "mask.png").write_bytes(b"another mask")
    changed = parse(folder=tmp_path, condition_mask="mask.png")
    assert changed.digest == by_path.digest
    assert changed.pictures != by_path.pictures
