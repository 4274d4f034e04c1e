"""`Manifest.rows(start, stop)`: equal to slicing all rows, without reading what lies outside."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.manifest import Manifest, open_manifest, prompt_manifest

ROWS = 11


def parquet(folder: Path) -> Manifest:
    """Two files of three and two row groups, which do not end where batches or ranges do."""
    for name, first, last in (("a", 0, 7), ("b", 7, ROWS)):
        table = pa.table({"prompt": [f"p{i}" for i in range(first, last)], "seed": list(range(first, last))})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=3)
    return open_manifest(str(folder))


def csv(folder: Path) -> Manifest:
    rows = "".join(f'"p\n{i}",{i}\n' for i in range(ROWS))  # a field over two lines is one row
    (folder / "m.csv").write_text("prompt,seed\n" + rows)
    return open_manifest(str(folder / "m.csv"))


def jsonl(folder: Path) -> Manifest:
    rows = "\n\n".join(json.dumps({"prompt": f"p{i}", "seed": i}) for i in range(ROWS))  # empty lines are no rows
    (folder / "m.jsonl").write_text(rows)
    return open_manifest(str(folder / "m.jsonl"))


def given(folder: Path) -> Manifest:
    return prompt_manifest(tuple(f"p{i}" for i in range(ROWS)))


@pytest.mark.parametrize("make", [parquet, csv, jsonl, given])
def test_a_range_equals_a_slice_of_all_rows(make: Callable[[Path], Manifest], tmp_path: Path) -> None:
    manifest = make(tmp_path)
    rows = list(manifest.rows())
    assert len(rows) == ROWS
    for start in range(ROWS + 2):
        assert list(manifest.rows(start)) == rows[start:]
        for stop in range(ROWS + 3):
            assert list(manifest.rows(start, stop)) == rows[start:stop], (start, stop)


def test_a_range_inside_a_large_row_group_spans_its_batches(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"prompt": [f"p{i}" for i in range(5000)]}), path)
    assert [raw.prompt for raw in open_manifest(str(path)).rows(1000, 3100)] == [f"p{i}" for i in range(1000, 3100)]


def test_row_groups_outside_a_range_are_not_read(tmp_path: Path) -> None:
    """The middle row group is broken, which is an error for whoever reads it, and for nobody else."""
    path = tmp_path / "m.parquet"
    prompts = [f"prompt {i}" for i in range(300)]
    pq.write_table(pa.table({"prompt": prompts}), path, row_group_size=100, use_dictionary=False, compression="zstd")
    column = pq.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = bytes(
        column.total_compressed_size
    )
    path.write_bytes(content)
    manifest = open_manifest(str(path))
    assert [raw.prompt for raw in manifest.rows(0, 100)] == prompts[:100]
    assert [raw.prompt for raw in manifest.rows(200)] == prompts[200:]
    with pytest.raises(ManifestError, match="row group 1 cannot be read"):
        list(manifest.rows(199, 201))


def test_files_outside_a_range_are_not_opened(tmp_path: Path) -> None:
    manifest = parquet(tmp_path)
    (tmp_path / "a.parquet").unlink()
    assert [raw.seed for raw in manifest.rows(7)] == list(range(7, ROWS))


def test_json_lines_before_a_range_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = jsonl(tmp_path)
    parsed = []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda text: parsed.append(text) or loads(text))
    assert [raw.seed for raw in manifest.rows(4, 6)] == [4, 5]
    assert len(parsed) == 2
