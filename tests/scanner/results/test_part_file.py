"""The results file of a part: rows in the order of their key, however much text there is."""

import io
import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.results.extent import Extent
from memscan.scanner.results.part_file import PartRecord, SavedImage, write_part
from memscan.scanner.results.tally import Tally, tally

SCHEMA = pa.schema([("row", pa.int64()), ("seed", pa.int64()), ("step_index", pa.int32()), ("prompt", pa.string())])


def shuffled_batches() -> tuple[list[dict[str, Any]], list[pa.RecordBatch]]:
    """Rows in order, and the same in batches of uneven sizes, out of order, one of them empty."""
    rows = [
        {"row": row, "seed": seed, "step_index": step, "prompt": f"{row}-{seed}-{step} " + "x" * 100}
        for row in range(10) for seed in (3, 5) for step in (7, 8)
    ]  # fmt: skip
    mixed = random.Random(0).sample(rows, len(rows))
    cuts = [mixed[:1], [], mixed[1:18], mixed[18:]]
    return rows, [pa.RecordBatch.from_pylist(part, SCHEMA) for part in cuts]


@pytest.mark.parametrize(("window_bytes", "groups"), [(1 << 20, 1), (1500, 4)], ids=["one window", "several windows"])
def test_rows_are_sorted_window_by_window(window_bytes: int, groups: int) -> None:
    rows, batches = shuffled_batches()
    stream = io.BytesIO()
    write_part(stream, batches, SCHEMA.with_metadata({"a": "b"}), window_bytes=window_bytes)
    file = pq.ParquetFile(stream, page_checksum_verification=True)
    assert file.num_row_groups == groups
    assert file.read().to_pylist() == rows
    assert file.schema_arrow.metadata == {b"a": b"b"}


def test_no_column_comes_together_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of 32-bit offsets holds 2 GB at most: what is combined is a window, here of about 1500 bytes."""
    _, batches = shuffled_batches()
    combined: list[int] = []

    class Watched(pq.ParquetWriter):
        def write_table(self, table: pa.Table, *arguments: Any, **options: Any) -> None:
            combined.append(table.nbytes)
            super().write_table(table, *arguments, **options)

    monkeypatch.setattr(pq, "ParquetWriter", Watched)
    write_part(io.BytesIO(), batches, SCHEMA, window_bytes=1500)
    assert len(combined) == 4
    assert max(combined) < 2000


def test_what_a_part_says_of_itself_is_read_back() -> None:
    images = {"00000003-1.png": SavedImage(120, "12")}
    record = PartRecord("abc", Extent(3, 1, 5, 2, 7), Tally(4, 3, 2, given=1, sampled=5), images, {3: "ab"}, maps=77)
    assert PartRecord.from_metadata(record.to_metadata()) == record


def test_an_earlier_version_says_the_digests_of_images_alone() -> None:
    record = PartRecord("abc", Extent(0, 0, 1, 0, 1), Tally(1))
    metadata = record.to_metadata() | {b"memscan.images": b'{"00000000-0.png": "12"}'}
    assert PartRecord.from_metadata(metadata).images == {"00000000-0.png": SavedImage(None, "12")}


def test_images_are_counted_not_their_rows_of_steps() -> None:
    """Three images at two steps: one is truncated at both, one failed at one of them, of one nothing is known."""
    batch = pa.RecordBatch.from_pydict(
        {
            "row": [0, 0, 0, 0, 1, 1],
            "seed": [1, 1, 2, 2, 0, 0],
            "status": ["ok", "ok", "ok", "error", "error", "error"],
            "error": [None, None, None, "not finite", "not JSON", "not JSON"],
            "truncated": [True, True, False, False, None, None],
            "image_source": ["sampled", "sampled", *["given, cropped from 9x7"] * 2, None, None],
        }
    )
    assert tally([batch.slice(0, 1), batch.slice(1)]) == Tally(
        ok=1, error=2, truncated=1, given=1, sampled=1, reasons=("not finite", "not JSON")
    )


def test_reasons_are_the_first_that_differ() -> None:
    total = sum((Tally(error=1, reasons=(reason,)) for reason in "aabbcd"), Tally())
    assert total == Tally(error=6, reasons=("a", "b", "c"))
