"""Reading manifests: every format gives the same rows, memory stays bounded, and a bad file is one clear line."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import Columns
from memscan.scanner.input.manifest import Census, Manifest, open_manifest, prompt_manifest
from memscan.scanner.input.rows import RawRow, parse_row
from memscan.scanner.samples import Rejected, Sample


def write_parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def items_of(manifest: Manifest) -> list[Sample | Rejected]:
    return [item for index, raw in enumerate(manifest.rows()) for item in parse_row(index, raw).items]


def refusal(manifest: Path | str, columns: Columns | None = None) -> str:
    with pytest.raises(ManifestError) as caught:
        open_manifest(str(manifest), columns or Columns())
    return str(caught.value)


def test_formats_give_the_same_samples(tmp_path: Path) -> None:
    rows = [("a mug", 3, "x"), ('two "quoted", words', [1, 2], None), ("caf\u00e9", None, "z")]
    csv_seeds = ["3", '"[1, 2]"', ""]
    (tmp_path / "m.csv").write_text(
        "id,prompt,seed\n"
        + "".join(
            f'{i or ""},"{prompt.replace(chr(34), chr(34) * 2)}",{seed}\n'
            for (prompt, _, i), seed in zip(rows, csv_seeds, strict=True)
        ),
        encoding="utf-8-sig",
    )
    (tmp_path / "m.jsonl").write_text(
        "\n".join(json.dumps({"prompt": prompt, "seed": seed, "id": i}) for prompt, seed, i in rows) + "\n\n"
    )
    seeds = pa.array([seed if isinstance(seed, list) else seed and [seed] for _, seed, _ in rows], pa.list_(pa.int32()))
    prompts = pa.array([row[0] for row in rows]).dictionary_encode()
    write_parquet(tmp_path / "m.parquet", {"prompt": prompts, "seed": seeds, "id": [row[2] for row in rows]})
    expected = [
        Sample(0, 3, "a mug", "x"),
        Sample(1, 1, 'two "quoted", words'),
        Sample(1, 2, 'two "quoted", words'),
        Sample(2, 0, "caf\u00e9", "z"),
    ]
    for name in ("m.csv", "m.jsonl", "m.parquet"):
        assert items_of(open_manifest(str(tmp_path / name))) == expected, name


def test_prompts_of_the_command_line_are_a_manifest() -> None:
    manifest = prompt_manifest(("a mug", " ", "caf\udce9"))  # the last as Python holds an argument that is not UTF-8
    assert manifest.census() == Census(rows=3, images=3, rejected=2)
    assert items_of(manifest) == [
        Sample(0, 0, "a mug"),
        Rejected(1, 0, " ", "the prompt is empty"),
        Rejected(2, 0, None, "the prompt is not UTF-8"),
    ]


def test_folder_and_glob_number_the_rows_over_sorted_files(tmp_path: Path) -> None:
    write_parquet(tmp_path / "b.parquet", {"prompt": ["third"]})
    write_parquet(tmp_path / "a.parquet", {"prompt": ["first", "second"]})
    write_parquet(tmp_path / "_hidden.parquet", {"other": ["x"]})
    for manifest in (str(tmp_path), str(tmp_path / "[ab].parquet")):
        samples = items_of(open_manifest(manifest))
        assert [(item.row, item.prompt) for item in samples] == [(0, "first"), (1, "second"), (2, "third")]


def test_prompt_column_can_be_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "m.parquet", {"caption": ["a mug"], "prompt": ["not this"]})
    assert items_of(open_manifest(str(path), Columns("caption"))) == [Sample(0, 0, "a mug")]


def test_carried_columns_keep_type_and_value(tmp_path: Path) -> None:
    columns = {
        "prompt": ["a", "b"],
        "when": pa.array([1, None], pa.timestamp("ns")),
        "tags": [["x", "y"], None],
        "kind": pa.array(["k", "k"]).dictionary_encode(),
    }
    manifest = open_manifest(
        str(write_parquet(tmp_path / "m.parquet", columns)), Columns(carry=("when", "tags", "kind"))
    )
    assert manifest.carried == {"when": pa.timestamp("ns"), "tags": pa.list_(pa.string()), "kind": pa.string()}
    carried = [item.carried for item in items_of(manifest)]
    for name, kind in manifest.carried.items():
        values = pa.array([row[name] for row in carried], kind)
        assert values == pa.array(columns[name]).cast(kind), name


def test_jsonl_finds_the_type_of_a_carried_column_over_the_whole_file(tmp_path: Path) -> None:
    lines = [{"prompt": "a"}, *({"prompt": "a", "n": 1} for _ in range(1500)), {"prompt": "a", "n": 2.5}]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert open_manifest(str(path), Columns(carry=("n",))).carried == {"n": pa.float64()}


def test_broken_lines_are_rejected_rows_and_none_is_lost(tmp_path: Path) -> None:
    jsonl = tmp_path / "m.jsonl"
    jsonl.write_bytes(b'{"prompt": "ok"}\nnot json\n[1]\n{"prompt": "\\ud800"}\n{"prompt": "\xff"}\n{"id": 1}\n')
    errors = [item.error for item in items_of(open_manifest(str(jsonl))) if isinstance(item, Rejected)]
    assert errors == [
        "line 2 is not JSON: Expecting value: line 1 column 1 (char 0)",
        "line 3 is no JSON object",
        "line 4 holds half a surrogate pair, which is no text",
        "line 5 is not JSON: 'utf-8' codec can't decode byte 0xff in position 12: invalid start byte",
        "the prompt is null",
    ]
    table = tmp_path / "m.csv"
    table.write_bytes(b"prompt,id\nok,1\nshort\n\xff,2\n")
    errors = [item.error for item in items_of(open_manifest(str(table))) if isinstance(item, Rejected)]
    assert errors == ["line 3 has 1 fields where the header has 2", "line 4 is not UTF-8"]


def test_census_counts_images_and_rows_known_to_be_bad(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "m.parquet", {"prompt": ["a", None, "b"], "seed": [[1, 2], [3], None]})
    assert open_manifest(str(path)).census() == Census(rows=3, images=4, rejected=1)


def test_memory_does_not_grow_with_a_row_group(tmp_path: Path) -> None:
    rows = 50_000
    path = write_parquet(tmp_path / "m.parquet", {"prompt": [f"{i:0100d}" for i in range(rows)]}, row_group_size=rows)
    stream = open_manifest(str(path)).rows()
    next(stream)
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() for _ in stream) - before
    # The column is 5 MB; a dictionary page of 1 MB, a batch of 1,024 prompts and a read buffer of 64 KiB are below 2.
    assert peak < 2_000_000


def test_images_are_read_few_at_a_time(tmp_path: Path) -> None:
    image = bytes(100_000)
    path = write_parquet(
        tmp_path / "m.parquet",
        {"prompt": ["a"] * 200, "image": [image] * 200},
        use_dictionary=False,
        compression="none",
        write_batch_size=10,  # pages of 1 MB: a page is the least that any reader takes
    )
    stream = open_manifest(str(path)).rows()
    next(stream)
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() for _ in stream) - before
    # All images are 20 MB; sixteen of them are 1.6 MB, and the array that they grow in has room for twice as many.
    assert peak < 4_000_000


def test_missing_file_is_said(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.parquet") == f"no such manifest: {tmp_path}/gone.parquet"


def test_content_that_is_not_parquet_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    path.write_text("prompt\na mug\n")
    assert refusal(path).startswith(f"{path} is not a Parquet file (")
    assert "\n" not in refusal(path)


def test_unknown_suffix_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m.md"
    path.write_text("a mug")
    assert refusal(path) == (
        f"{path} is no manifest by its name: expected one of .parquet, .pq, .csv, .tsv, .jsonl, .ndjson, .txt; "
        "or say what it is with --format"
    )


@pytest.mark.parametrize("name", ["m.parquet", "m.csv", "m.jsonl"])
def test_missing_prompt_column_lists_those_there_are(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if path.suffix == ".parquet":
        write_parquet(path, {"caption": ["a mug"], "n": [1]})
    else:
        path.write_text("caption,n\na mug,1\n" if path.suffix == ".csv" else '{"caption": "a mug", "n": 1}\n')
    assert refusal(path) == (
        f"{path} has no column 'prompt'; its columns are: caption, n; say which with --prompt-column"
    )


def test_missing_carried_column_is_said(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "m.parquet", {"prompt": ["a mug"]})
    assert refusal(path, Columns(carry=("kind",))) == f"{path} has no column 'kind' to carry; its columns are: prompt"


def test_column_there_twice_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"]), path)
    assert refusal(path) == f"{path} has two columns named 'prompt': rename one of them"


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"prompt": [1]}, "column 'prompt' is int64, a prompt is text"),
        ({"prompt": ["a"], "seed": ["1"]}, "column 'seed' is string, expected integers or lists of integers"),
        ({"prompt": ["a"], "k": [{"x": 1}]}, "column 'k' is struct<x: int64>; only flat columns can be carried"),
    ],
)
def test_column_of_an_unsuitable_type_is_said(columns: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "m.parquet", columns)
    carry = ("k",) if "k" in columns else ()
    assert refusal(path, Columns(carry=carry)) == f"{path}: {text}"


@pytest.mark.parametrize(
    ("name", "content"), [("m.csv", "prompt\n"), ("m.jsonl", ""), ("m.jsonl", "\n\n"), ("m.parquet", None)]
)
def test_zero_rows_are_a_manifest(name: str, content: str | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is None:
        write_parquet(path, {"prompt": pa.array([], pa.string())})
    else:
        path.write_text(content)
    manifest = open_manifest(str(path))
    assert (manifest.num_rows, list(manifest.rows())) == (0, [])


def test_folder_and_glob_that_match_nothing_are_said(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"{tmp_path} holds no .parquet files: name a file, or a glob such as '{tmp_path}/**/*.csv'"
    )
    assert refusal(tmp_path / "*.csv") == f"no file matches {tmp_path}/*.csv"


def test_files_that_disagree_are_said(tmp_path: Path) -> None:
    first = write_parquet(tmp_path / "a.parquet", {"prompt": ["a"], "seed": [1]})
    second = write_parquet(tmp_path / "b.parquet", {"prompt": ["b"]})
    assert refusal(tmp_path) == (
        f"the files of a manifest must agree: column 'seed' is int64 in {first} and missing in {second}"
    )
    (tmp_path / "c.csv").write_text("prompt\nc\n")
    assert refusal(tmp_path / "*") == (f"a manifest has files of one format, but {tmp_path}/* has b.parquet and c.csv")


def test_columns_that_are_not_used_may_disagree(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"prompt": ["a"], "note": [1]})
    write_parquet(tmp_path / "b.parquet", {"prompt": ["b"], "note": ["x"]})
    assert len(items_of(open_manifest(str(tmp_path)))) == 2


def test_text_that_is_not_json_lines_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("prompt\na mug\n")
    assert refusal(path) == (
        f"{path} is not JSON lines (line 1 is not JSON: Expecting value: line 1 column 1 (char 0))"
    )


@pytest.mark.parametrize(
    "values", [[1, "one"], [2**64], [*range(1024), 2**60 + 1, *range(1023), 0.5], [0.5] * 1024 + [2**60 + 1]]
)
def test_carried_values_without_a_common_type_are_said(values: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": "a", "n": value}) for value in values))
    assert refusal(path, Columns(carry=("n",))) == (
        f"{path}: column 'n' cannot be carried, its values have no common type"
    )


def test_csv_with_an_open_quote_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text('prompt\n"a mug\n')
    assert refusal(path) == f"{path}: line 2 is not CSV (unexpected end of data)"


@pytest.mark.parametrize("checksums", [True, False])
def test_unreadable_row_group_names_file_and_group_after_the_rows_before_it(checksums: bool, tmp_path: Path) -> None:
    prompts = [f"prompt {i}" for i in range(300)]
    path = write_parquet(
        tmp_path / "m.parquet",
        {"prompt": prompts},
        row_group_size=100,
        write_page_checksum=checksums,
        compression="zstd",
    )
    column = pq.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    start = column.data_page_offset
    for i in range(start + 40, column.dictionary_page_offset + column.total_compressed_size - 10):
        content[i] ^= 0x5A
    path.write_bytes(content)
    manifest = open_manifest(str(path))
    rows: list[RawRow] = []
    with pytest.raises(ManifestError) as caught:
        rows.extend(manifest.rows())
    with pytest.raises(ManifestError):
        manifest.census()
    assert str(caught.value).startswith(f"{path}: row group 1 cannot be read (")
    assert str(caught.value).endswith("): write the file again")
