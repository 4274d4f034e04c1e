"""Values of every Arrow type: ids are the same text whoever wrote them, and a bad value costs its own row only."""

import datetime
import decimal
import uuid
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import Columns
from memscan.scanner.input.manifest import Manifest, open_manifest
from memscan.scanner.input.rows import MAX_PROMPT, parse_row
from memscan.scanner.samples import Rejected, Sample


def raw_text(*values: bytes) -> pa.StringArray:
    """A string column whose bytes are not all UTF-8."""
    offsets = np.cumsum([0, *map(len, values)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(values)))


def opened(folder: Path, carry: tuple[str, ...] = (), **columns: Any) -> Manifest:
    rows = len(next(iter(columns.values())))
    pq.write_table(pa.table({"prompt": ["a mug"] * rows} | columns), folder / "m.parquet")
    return open_manifest(str(folder / "m.parquet"), Columns(carry=carry))


def items_of(manifest: Manifest) -> list[Sample | Rejected]:
    return [item for index, raw in enumerate(manifest.rows()) for item in parse_row(index, raw).items]


def fates(manifest: Manifest) -> list[str | None]:
    return [item.error if isinstance(item, Rejected) else None for item in items_of(manifest)]


UUID = "00112233-4455-6677-8899-aabbccddeeff"


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (pa.array([uuid.UUID(UUID).bytes], pa.uuid()), UUID),
        (pa.array([uuid.UUID(UUID).bytes], pa.binary(16)), UUID),
        (pa.array([b"abc"], pa.binary(3)), "abc"),
        (pa.array([b"a\x00\xff"], pa.binary()), "a\\x00\\xff"),
        (pa.array([b"abc"], pa.binary_view()), "abc"),
        (pa.array(["x"], pa.string_view()), "x"),
        (pa.array(["x"], pa.large_string()), "x"),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([7], pa.uint64()).dictionary_encode(), "7"),
        (pa.array([True]), "True"),
        (pa.array([decimal.Decimal("1234567890123456789.500")]), "1234567890123456789.500"),
        (pa.array([1700000000123456789], pa.timestamp("ns")), "2023-11-14T22:13:20.123456789"),
        (pa.array([1700000000123456], pa.timestamp("us", "Europe/Berlin")), "2023-11-14T22:13:20.123456Z"),
        (pa.array([1700000000000], pa.timestamp("ms")), "2023-11-14T22:13:20"),
        (pa.array([1700000000], pa.timestamp("s")), "2023-11-14T22:13:20"),
        (pa.array([-1], pa.timestamp("ns")), "1969-12-31T23:59:59.999999999"),
        (pa.array([datetime.date(2023, 11, 14)], pa.date32()), "2023-11-14"),
        (pa.array([datetime.date(2023, 11, 14)], pa.date64()), "2023-11-14"),
        (pa.array([3_723_000_000_001], pa.time64("ns")), "01:02:03.000000001"),
        (pa.array([3_723_000], pa.time32("ms")), "01:02:03"),
        (pa.array([-1_500], pa.duration("ms")), "-PT1.5S"),
        (pa.array([90], pa.duration("s")), "PT90S"),
        (pa.array([1.5], pa.float16()), "1.5"),
    ],
)
def test_an_id_is_text_with_nothing_lost(array: pa.Array, text: str, tmp_path: Path) -> None:
    column = pa.concat_arrays([array, pa.nulls(1, array.type)]) if not pa.types.is_dictionary(array.type) else array
    items = items_of(opened(tmp_path, id=column))
    assert [item.id for item in items] == [text, None][: len(column)]
    assert all(isinstance(item, Sample) for item in items)


def test_a_uuid_is_the_same_text_whoever_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    duckdb.sql(f"COPY (SELECT 'a mug' AS prompt, UUID '{UUID}' AS id) TO '{path}' (FORMAT parquet)")
    assert [item.id for item in items_of(open_manifest(str(path)))] == [UUID]


def test_invalid_utf_8_costs_one_row(tmp_path: Path) -> None:
    bad = raw_text(b"caf\xe9", b"ok")
    assert fates(opened(tmp_path, prompt=bad)) == ["the prompt is not UTF-8", None]
    assert fates(opened(tmp_path, prompt=bad.dictionary_encode())) == ["the prompt is not UTF-8", None]
    assert fates(opened(tmp_path, id=bad)) == ["the id is not UTF-8", None]
    assert [item.id for item in items_of(opened(tmp_path, id=bad))] == ["caf\\xe9", "ok"]
    assert fates(opened(tmp_path, image=raw_text(b"caf\xe9", b""))) == ["the image is not UTF-8", None]
    assert fates(opened(tmp_path, image=pa.StructArray.from_arrays([bad], ["path"]))) == [
        "the image is not UTF-8",
        "no such image: ok",
    ]
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), bad)
    for column, what in ((bad, "is not UTF-8"), (lists, "is no valid list<element: string>")):
        items = items_of(opened(tmp_path, carry=("kind",), kind=column))
        assert [item.error if isinstance(item, Rejected) else None for item in items] == [
            f"the column 'kind' {what}",
            None,
        ]
        assert items[0].carried == {"kind": None}
        assert items[1].carried["kind"].as_py() in ("ok", ["ok"])


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (pa.array([{"bytes": None, "path": None}], pa.struct({"bytes": pa.binary(), "path": pa.string()})), "neither"),
        (pa.array([{"url": "https://example.org/a.png"}]), "the image has neither bytes nor a path"),
        (pa.array([{"bytes": b"", "path": ""}]), "the image has neither bytes nor a path"),
        (pa.array([[1, 2]]), "the image is neither bytes nor a path but list<element: int64>"),
        (pa.array([5]), "the image is neither bytes nor a path but int64"),
        (pa.array([{"path": [1]}]), "the image is neither bytes nor a path but list<element: int64>"),
    ],
)
def test_an_image_that_is_none_is_an_error_row(image: pa.Array, error: str, tmp_path: Path) -> None:
    manifest = opened(tmp_path, image=image)
    (item,) = items_of(manifest)
    assert isinstance(item, Rejected)
    assert error in item.error
    assert item.image_given
    assert manifest.census().rejected == 1  # it is seen without opening any image


@pytest.mark.parametrize(
    "image", [pa.nulls(1), pa.array([""]), pa.array([" "]), pa.array([None], pa.struct({"bytes": pa.binary()}))]
)
def test_an_image_that_is_missing_is_sampled(image: pa.Array, tmp_path: Path) -> None:
    (item,) = items_of(opened(tmp_path, image=image))
    assert isinstance(item, Sample)
    assert item.image is None
    assert not item.image_given


def test_carried_columns_have_plain_types(tmp_path: Path) -> None:
    columns = {
        "a": pa.array(["x", None], pa.string_view()),
        "b": pa.array([b"x", None], pa.binary_view()),
        "c": pa.array(["x", None]).dictionary_encode(),
        "d": pa.array([["x"], None], pa.list_(pa.string_view())),
        "e": pa.array([decimal.Decimal("1.50"), None]),
        "f": pa.array([uuid.UUID(UUID).bytes, None], pa.uuid()),
        "g": pa.array([1, None], pa.duration("ns")),
        "h": pa.array([["x"], None], pa.list_view(pa.string())),
    }
    manifest = opened(tmp_path, carry=tuple(columns), **columns)
    kinds = {
        "a": pa.string(),
        "b": pa.binary(),
        "c": pa.string(),
        "d": pa.list_(pa.string()),
        "e": pa.decimal128(3, 2),
        "f": pa.binary(16),
        "g": pa.duration("ns"),
        "h": pa.list_(pa.string()),
    }
    assert manifest.carried == kinds
    rows = [item.carried for item in items_of(manifest)]
    for name, kind in kinds.items():
        values = pa.array([row[name] for row in rows], kind)
        assert values.null_count == 1
        assert values[0].is_valid


def test_a_seed_may_be_decimal(tmp_path: Path) -> None:
    manifest = opened(tmp_path, seed=[decimal.Decimal("7.00"), decimal.Decimal("7.50")])
    assert fates(manifest) == [None, "the seed is not an integer but Decimal('7.50')"]
    assert items_of(manifest)[0].seed == 7


def test_a_prompt_above_the_bound_is_an_error_row_that_does_not_hold_it(tmp_path: Path) -> None:
    prompts = ["x" * MAX_PROMPT, "x" * (MAX_PROMPT + 1), "\u732b" * (MAX_PROMPT // 3), "\u732b" * (MAX_PROMPT // 3 + 1)]
    manifest = opened(tmp_path, prompt=prompts)
    error = f"the prompt has more than {MAX_PROMPT} bytes"
    assert fates(manifest) == [None, error, None, error]
    assert [item.prompt is None for item in items_of(manifest)] == [False, True, False, True]


def test_a_dictionary_is_not_unfolded(tmp_path: Path) -> None:
    """Three thousand prompts of 1 MB, of which the file holds one; a batch of them unfolded would be 1 GB."""
    path = tmp_path / "m.parquet"
    encoded = pa.DictionaryArray.from_arrays(pa.array(np.zeros(3000, np.int32)), ["x" * 1_000_000])
    pq.write_table(pa.table({"prompt": encoded}), path, store_schema=False)  # read back as plain text, if not asked
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() for _ in open_manifest(str(path)).rows()) - before
    assert peak < 20_000_000  # a few copies of the one value


def test_a_nested_column_cannot_be_carried_and_is_named_briefly(tmp_path: Path) -> None:
    wide = pa.array([{f"field {i}": i for i in range(1000)}])
    with pytest.raises(
        ManifestError, match=r"column 'k' is struct<.*\.\.\.; only flat columns can be carried$"
    ) as caught:
        opened(tmp_path, carry=("k",), k=wide)
    assert len(str(caught.value)) < 300
