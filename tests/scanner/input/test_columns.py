"""Columns that look like ours are used, refused or spoken of, but never passed over in silence."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.columns import Columns
from memscan.scanner.input.manifest import Manifest, open_manifest
from memscan.scanner.input.rows import RawRow


def written(folder: Path, row: dict[str, Any], suffix: str) -> str:
    path = folder / f"m.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({name: [value] for name, value in row.items()}), path)
    elif suffix == "csv":
        path.write_text(f"{','.join(row)}\n{','.join(map(str, row.values()))}\n")
    else:
        path.write_text(json.dumps(row))
    return str(path)


def only(manifest: Manifest) -> RawRow:
    (row,) = manifest.rows()
    return row


SUFFIXES = pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])


@SUFFIXES
@pytest.mark.parametrize(
    ("prompt", "seed", "identity"),
    [
        ("prompt", "seed", "id"),
        ("Prompt", "Seed", "ID"),
        (" PROMPT", " seed ", "Id\t"),
        ("\ufeffprompt", "SEED", " iD"),
    ],
)
def test_names_are_compared_without_case_and_outer_blanks(
    prompt: str, seed: str, identity: str, suffix: str, tmp_path: Path
) -> None:
    manifest = open_manifest(written(tmp_path, {prompt: "a mug", seed: 7, identity: "x"}, suffix))
    row = only(manifest)
    assert (row.prompt, row.seed, row.id) == ("a mug", 7, "x")
    assert manifest.unused == ()
    assert manifest.remarks == ()


@SUFFIXES
def test_two_columns_that_fit_are_one_clear_error(suffix: str, tmp_path: Path) -> None:
    manifest = written(tmp_path, {"prompt": "a mug", "seed": 1, "Seed": 2}, suffix)
    with pytest.raises(ManifestError, match=r"has the columns 'seed' and 'Seed': say which with --seed-column$"):
        open_manifest(manifest)
    assert only(open_manifest(manifest, Columns(seed="Seed"))).seed == 2
    assert only(open_manifest(manifest, Columns(seed="seed"))).seed == 1
    with pytest.raises(ManifestError, match="say which with --seed-column"):
        open_manifest(manifest, Columns(seed="SEED"))


@SUFFIXES
def test_each_role_can_be_named(suffix: str, tmp_path: Path) -> None:
    row = {"text": "a mug", "n": 7, "key": "x", "file": "a.png", "prompt": "p", "seed": 1, "id": "i", "image": "b.png"}
    columns = Columns(prompt="text", seed="n", id="key", image="file", carry=("SEED", "key"))
    manifest = open_manifest(written(tmp_path, row, suffix), columns)
    found = only(manifest)
    assert (found.prompt, found.seed, found.id, found.image) == ("a mug", 7, "x", "a.png")
    carried = {name: value.as_py() if isinstance(value, pa.Scalar) else value for name, value in found.carried.items()}
    assert {name: str(value) for name, value in carried.items()} == {"SEED": "1", "key": "x"}
    assert manifest.unused == ("prompt", "id", "image")


@pytest.mark.parametrize("role", ["seed", "id", "image"])
def test_a_column_that_was_asked_for_and_is_missing_is_an_error(role: str, tmp_path: Path) -> None:
    manifest = written(tmp_path, {"prompt": "a mug", "n": 1}, "csv")
    with pytest.raises(ManifestError, match=rf"has no column 'x'; its columns are: prompt, n; .* --{role}-column$"):
        open_manifest(manifest, Columns(**{role: "x"}))


@SUFFIXES
def test_what_is_not_used_is_said_and_near_misses_with_their_option(suffix: str, tmp_path: Path) -> None:
    row = {"prompt": "a mug", "seeds": 7, "Caption": "x", "uid": "y", "file_name": "z", "kind": "k", "carried": "c"}
    manifest = open_manifest(written(tmp_path, row, suffix), Columns(carry=("carried",)))
    assert manifest.unused == ("seeds", "Caption", "uid", "file_name", "kind")
    assert manifest.remarks == (
        "column 'seeds' is not read as seed: if it is, say --seed-column seeds",
        "column 'uid' is not read as id: if it is, say --id-column uid",
        "column 'file_name' is not read as image: if it is, say --image-column file_name",
        "columns not used: seeds, Caption, uid, file_name, kind",
    )


def test_a_role_that_has_its_column_has_no_near_miss(tmp_path: Path) -> None:
    manifest = open_manifest(written(tmp_path, {"prompt": "a mug", "seed": 1, "seeds": 7}, "jsonl"))
    assert manifest.remarks == ("columns not used: seeds",)


def test_near_misses_of_the_prompt_come_first_where_names_are_cut(tmp_path: Path) -> None:
    row = {f"c{i}": 1 for i in range(50)} | {"Caption": "a mug"}
    with pytest.raises(ManifestError, match=r"its columns are: Caption, c0, .*, c8 and 41 more; say which with"):
        open_manifest(written(tmp_path, row, "csv"))


def test_columns_of_one_name_that_nothing_uses_do_no_harm(tmp_path: Path) -> None:
    """Spreadsheets end every line with as many commas as their widest row has."""
    path = tmp_path / "m.csv"
    path.write_text("prompt,,\na mug,,\n")
    manifest = open_manifest(str(path))
    assert only(manifest).prompt == "a mug"
    assert manifest.unused == ("",)


@pytest.mark.parametrize(("suffix", "count"), [("parquet", 5_000), ("csv", 30_000), ("jsonl", 30_000)])
def test_thousands_of_columns_are_read_and_errors_stay_short(suffix: str, count: int, tmp_path: Path) -> None:
    manifest = written(tmp_path, {f"column {i}": 1 for i in range(count)} | {"prompt": "a mug"}, suffix)
    opened = open_manifest(manifest)
    assert only(opened).prompt == "a mug"
    assert len(opened.unused) == count
    assert max(map(len, opened.remarks)) < 300
    for columns in (Columns(prompt="text"), Columns(carry=("kind",)), Columns(id="key")):
        with pytest.raises(ManifestError, match=f" and {count - 9} more") as caught:
            open_manifest(manifest, columns)
        assert len(str(caught.value)) < 500


def test_keys_that_are_new_in_every_json_line_are_remembered_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memscan.scanner.input.jsonl_file.MAX_NAMES", 50)
    path = tmp_path / "m.jsonl"
    lines = [{f"key {i}": 1, "prompt": "a mug"} for i in range(100)] + [{"prompt": "last", "Seed": 3}]
    path.write_text("\n".join(map(json.dumps, lines)))
    manifest = open_manifest(str(path))
    assert len(manifest.unused) < 50
    assert [row.seed for row in manifest.rows()][-1] == 3


def test_names_that_steer_a_terminal_are_escaped_in_errors_and_remarks(tmp_path: Path) -> None:
    manifest = written(tmp_path, {"prompt": "a mug", "\x1b[31mred": 1, "\x1b]0;seeds": 2}, "jsonl")
    opened = open_manifest(manifest)
    with pytest.raises(ManifestError, match=re.escape("prompt, \\x1b[31mred, \\x1b]0;seeds; say")) as caught:
        open_manifest(manifest, Columns(prompt="\x1b[0m"))
    for text in (*opened.remarks, str(caught.value)):
        assert "\x1b" not in text
