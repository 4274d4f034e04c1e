"""What a manifest row may say, and the exact reason when it cannot be scanned."""

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from memscan.scanner.input import rows as rows_module
from memscan.scanner.input.rows import MAX_SEED, RawRow, Row, Unreadable, judge, parse_row
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
    gone, one, two = (row.picture for row in rows)
    assert gone is None
    assert one == hashlib.sha256(b"one").hexdigest()[:32]
    assert two not in (None, one)


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
    assert rows[0].picture is None
    by_path = parse(folder=tmp_path, condition_mask="mask.png")
    (tmp_path / "mask.png").write_bytes(b"another mask")
    changed = parse(folder=tmp_path, condition_mask="mask.png")
    assert changed.digest == by_path.digest
    assert changed.picture != by_path.picture


@pytest.mark.parametrize("carried", [{}, {"kind": 'a "b"', "n\u00f6": None, "x": float("nan")}], ids=["none", "some"])
@pytest.mark.parametrize("prompt", ["a mug", 'quoted "mug" \\', "\u0007 caf\u00e9 \U0001f600", None])
def test_the_digest_is_that_of_a_json_text(prompt: str | None, carried: dict[str, Any]) -> None:
    """Runs that were written before are continued: the text may not change by a byte."""
    for values in ({"seed": 3}, {"seed": [1, 2], "id": "id\u2028"}, {"seed": 2**63 - 1, "image": b"no image"}):
        row = parse(prompt=prompt, carried=carried, **values)
        first = row.items[0]
        shown = {name: repr(value) for name, value in carried.items()}
        said = json.dumps([first.prompt, [item.seed for item in row.items], first.id, shown, row.given])
        assert row.digest == hashlib.sha256(said.encode()).digest()


def test_rows_of_the_usual_kind_are_judged_as_all_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = ["a mug", "", " \t", "caf\u00e9", "\ud800", "x" * 100_000, "x" * 100_001, None, 3, Unreadable("is torn")]
    seeds = [None, 0, 7, MAX_SEED, MAX_SEED + 1, -1, True, 1.0, float("nan"), "1", [], [1, 1], [2, 3]]
    others: list[dict[str, Any]] = [{}, {"problem": "x"}, {"id": Unreadable("is torn")}, {"id": 5}, {"image": ""}]
    rows = [RawRow(Path(), prompt, seed, **other) for prompt, seed, other in itertools.product(prompts, seeds, others)]
    quick, quick_rows = [judge(raw) for raw in rows], [parse_row(3, raw) for raw in rows]
    plain = sum(map(rows_module._is_plain, rows))
    assert 0 < plain < len(rows) / 4
    monkeypatch.setattr(rows_module, "_is_plain", lambda raw: False)
    monkeypatch.setattr(rows_module, "_NOTHING_GIVEN", rows_module._given(RawRow(Path()), True))
    assert [judge(raw) for raw in rows] == quick
    assert [parse_row(3, raw) for raw in rows] == quick_rows
    for asked, row in zip(quick, quick_rows, strict=True):
        assert len(asked.seeds) == len(row.items)
        assert (asked.error is not None) == isinstance(row.items[0], Rejected)
