"""Whatever a file holds, a reader gives rows or one of memscan's own errors of one line: never a traceback."""

import decimal
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.errors import MemscanError
from memscan.scanner.input.columns import ROLES, Columns
from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.input.reading import Reading
from memscan.scanner.input.rows import parse_row
from memscan.scanner.samples import Rejected
from tests.mutation import mutations

ROWS = 12
WORDS = [None, "", "a mug", "\x1b[31m", "caf\u00e9", "x" * 200, "/dev/zero", "../..", "data:,", "7"]


def read(path: Path, columns: Columns | None = None) -> str | None:
    """Read a manifest in every way that a run does; its error, if it is refused."""
    try:
        manifest = open_manifest(str(path), columns or Columns())
        manifest.census()
        rows = [parse_row(index, raw) for index, raw in enumerate(manifest.rows())]
    except MemscanError as error:
        return str(error)
    assert len(rows) == manifest.num_rows
    for row in rows:
        assert len(row.digest) == 32
        for item in row.items:
            json.dumps([item.prompt, item.id]).encode()  # what the results hold is text
            if isinstance(item, Rejected):
                assert "\n" not in item.error
                assert len(item.error) < 1000
    for name, kind in manifest.carried.items():
        pa.array([item.carried[name] for row in rows for item in row.items], kind).validate(full=True)
    return None


def is_one_short_line(error: str) -> bool:
    return "\n" not in error and len(error) < 1000


FLAT: list[pa.DataType] = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.null()),
    *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()),
    *(pa.binary(1), pa.binary(16), pa.uuid(), pa.json_(pa.string())),
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
    *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC", "America/New_York")),
    *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
    *(pa.decimal32(5, 2), pa.decimal64(10, 0), pa.decimal128(38, 10), pa.decimal256(76, 5)),
]

NESTED: list[Callable[[pa.DataType], pa.DataType]] = [
    pa.list_,
    pa.large_list,
    pa.list_view,
    lambda kind: pa.list_(kind, 2),
    lambda kind: pa.struct({"bytes": kind, "path": kind}),
    lambda kind: pa.struct({"url": kind}),
    lambda kind: pa.map_(pa.string(), kind),
    lambda kind: pa.list_(pa.struct({"path": kind})),
]


def column(rng: np.random.Generator, kind: pa.DataType, rows: int = ROWS) -> pa.Array:
    """Values of a type: nulls, extremes and invalid UTF-8 among them."""
    mask = rng.random(rows) < 0.2
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, column(rng, kind.storage_type, rows))
    if pa.types.is_null(kind):
        return pa.nulls(rows)
    if pa.types.is_fixed_size_binary(kind):
        return pa.array([rng.bytes(kind.byte_width) for _ in range(rows)], kind, mask=mask)
    if pa.types.is_decimal(kind):
        largest = 10 ** (kind.precision - kind.scale) - 1
        values = [None if bad else decimal.Decimal(int(rng.choice([-1, 0, 1])) * largest) for bad in mask]
        return pa.array(values, kind)
    if "string" in str(kind) or "binary" in str(kind):
        words = [rng.bytes(5) if rng.random() < 0.3 else (rng.choice(WORDS[1:])).encode() for _ in range(rows)]
        raw = pa.array(words, pa.binary(), mask=mask)
        text = pa.Array.from_buffers(pa.string(), rows, raw.buffers())
        return (text if "string" in str(kind) else raw).cast(kind, safe=False)
    if pa.types.is_boolean(kind):
        return pa.array(rng.random(rows) < 0.5, mask=mask)
    if pa.types.is_floating(kind):
        values = rng.choice([0.0, -1.5, 3.0, 1e4, np.nan, np.inf], rows)
        return pa.array(values.astype(kind.to_pandas_dtype()), mask=mask)
    bits = kind.bit_width
    extremes = [0, 1, 7, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))]
    values = np.array([extremes[place] for place in rng.integers(len(extremes), size=rows)], f"i{bits // 8}")
    return pa.array(values, mask=mask).view(kind)


def nested(rng: np.random.Generator, kind: pa.DataType) -> pa.Array:
    """A nested column whose leaves are those of `column`."""
    if pa.types.is_struct(kind):
        return pa.StructArray.from_arrays([column(rng, one.type) for one in kind], fields=list(kind))
    child = kind.value_field.type if not pa.types.is_map(kind) else kind.item_type
    leaves = nested(rng, child) if pa.types.is_struct(child) else column(rng, child)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(leaves, 2)
    offsets = np.sort(rng.integers(0, len(leaves) + 1, ROWS + 1))
    if pa.types.is_map(kind):
        keys = pa.array([str(place) for place in range(len(leaves))])
        return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, leaves)
    if pa.types.is_list_view(kind):
        return pa.ListViewArray.from_arrays(
            pa.array(offsets[:-1], pa.int32()), pa.array(np.diff(offsets), pa.int32()), leaves
        )
    maker, width = (pa.LargeListArray, pa.int64()) if pa.types.is_large_list(kind) else (pa.ListArray, pa.int32())
    return maker.from_arrays(pa.array(offsets, width), leaves)


def write(path: Path, array: pa.Array, role: str) -> bool:
    """Write a manifest whose column `role` is `array`; False where Parquet has no such type."""
    prompts = {} if role == "prompt" else {"prompt": ["a mug"] * len(array)}
    try:
        pq.write_table(pa.table(prompts | {role: array}), path, row_group_size=5)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    return True


@pytest.mark.parametrize("role", [*ROLES, "kind"])
def test_columns_of_every_type_are_rows_or_one_error(role: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    carry = Columns(carry=("kind",)) if role == "kind" else Columns()
    kinds = [*FLAT, *(make(kind) for make in NESTED for kind in FLAT)]
    written = read_whole = 0
    for kind in kinds:
        array = column(rng, kind) if kind in FLAT else nested(rng, kind)
        for one in (array, array.dictionary_encode() if kind in FLAT[:20] and len(array) else None):
            if one is None or not write(tmp_path / "m.parquet", one, role):
                continue
            written += 1
            error = read(tmp_path / "m.parquet", carry)
            read_whole += error is None
            assert error is None or is_one_short_line(error), kind
    assert written > len(kinds) * 0.7
    # A prompt has to be text and a seed a number; an id, a picture or a flat carried column may be anything.
    least = {"prompt": 5, "seed": 30, "kind": len(FLAT) - 4}
    assert read_whole >= least.get(role, written)


def base(path: Path) -> tuple[bytes, Columns]:
    """A sound manifest of the format that the suffix says."""
    rows = range(40)
    if path.suffix == ".parquet":
        columns: dict[str, Any] = {
            "prompt": [f"a mug {i % 5}" for i in rows],
            "seed": [[i, i + 1] for i in rows],
            "id": pa.array(rows, pa.timestamp("ns")),
            "image": pa.array([None] * 40, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
            "kind": [f"{i % 3}" for i in rows],
        }
        pq.write_table(pa.table(columns), path, row_group_size=16)
        return path.read_bytes(), Columns(carry=("kind",))
    if path.suffix == ".jsonl":
        lines = [json.dumps({"prompt": f"a mug {i}", "seed": [i], "kind": i, "image": {"path": None}}) for i in rows]
        return "\n".join(lines).encode(), Columns(carry=("kind",))
    if path.suffix == ".csv":
        return b"prompt;seed;id\r\n" + b"".join(b'"a ""mug""";%d;"[1, 2]"\r\n' % i for i in rows), Columns()
    return b"".join(b"a mug %d\n" % i for i in rows), Columns()


@pytest.mark.parametrize(("suffix", "times"), [("parquet", 400), ("csv", 300), ("jsonl", 200), ("txt", 100)])
def test_mutated_and_truncated_files_are_rows_or_one_error(
    suffix: str, times: int, tmp_path: Path, longer: int | None
) -> None:
    path = tmp_path / f"m.{suffix}"
    sound, columns = base(path)
    path.write_bytes(sound)
    assert read(path, columns) is None
    for content in mutations(sound, longer or times, seed=1):
        path.write_bytes(content)
        error = read(path, columns)
        assert error is None or is_one_short_line(error)


JSON_VALUES = [
    *("null", "true", "-1", "1e400", "NaN", "9" * 4000, '"x"', '""', "[]", "[null]", "[[1]]", "{}", '{"bytes": "x"}'),
    *('{"path": 3}', '{"url": "x"}', '"\\ud800"', '"\\u0000"', "[" * 5000 + "]" * 5000, "18446744073709551616"),
]


@pytest.mark.parametrize("role", [*ROLES, "kind"])
def test_json_values_of_every_kind_are_rows_or_one_error(role: str, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    others = {} if role == "prompt" else {"prompt": "a mug"}
    carry = Columns(carry=("kind",)) if role == "kind" else Columns()
    for value in JSON_VALUES:
        head = json.dumps(others)[:-1] + (", " if others else "")
        path.write_text(f'{json.dumps({"prompt": "a mug", role: None})}\n{head}"{role}": {value}}}\n')
        error = read(path, carry)
        assert error is None or is_one_short_line(error), value[:50]
        if role in ("seed", "id", "image"):
            assert error is None, value[:50]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "cp1252", "shift_jis", "utf-7"])
def test_bytes_of_no_kind_are_rows_or_one_error_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for suffix in ("csv", "jsonl", "txt"):
        path = tmp_path / f"m.{suffix}"
        for size in (0, 1, 2, 3, 7, 100, 1000):
            path.write_bytes(rng.bytes(size))
            try:
                manifest = open_manifest(str(path), Columns(), Reading(encoding=encoding))
                assert len(list(manifest.rows())) == manifest.num_rows
            except MemscanError as error:
                assert is_one_short_line(str(error))
