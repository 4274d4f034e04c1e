"""Rows become batches: full ones, never of two parts, with everything in them once."""

from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np
import pytest

from memscan.scanner.input.manifest import open_manifest
from memscan.scanner.model.text import Tokens
from memscan.scanner.run.batches import Batch, batches
from memscan.scanner.run.cut import Bounds, survey
from memscan.scanner.samples import Rejected, Sample
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
from memscan.scanner.scanning.prepare import Prepared
from tests.scanner.run.small_run import ROWS, write_manifest


def prepare(samples: Sequence[Sample]) -> list[Prepared | Rejected]:
    return [
        Rejected(sample.row, sample.seed, sample.prompt, "refused")
        if sample.prompt == "a broken phone"
        else Prepared(sample, Tokens((), False), np.zeros(1, np.float32), None)
        for sample in samples
    ]


def cut(tmp_path: Path, ceiling: BatchCeiling, done: Container[int] = ()) -> list[Batch]:
    manifest = open_manifest(str(write_manifest(tmp_path / "m.parquet", ROWS)))
    parts = enumerate(survey(manifest, Bounds(3, 100)).parts)
    return list(batches(manifest, [part for part in parts if part[0] not in done], prepare, ceiling))


def test_batches_are_full_but_for_the_last_of_a_part(tmp_path: Path) -> None:
    found = cut(tmp_path, BatchCeiling(2, pytest.fail))
    assert [(batch.part, len(batch.prepared), batch.last) for batch in found] == [
        (0, 2, False), (0, 1, True), (1, 2, False), (1, 0, True), (2, 1, True)
    ]  # fmt: skip
    assert [item.sample.seed for batch in found for item in batch.prepared] == [1, 2, 3, 5, 6, 8]
    assert [item.seed for batch in found for item in batch.rejected] == [4, 7]
    assert sum(batch.images for batch in found) == 8
    assert [sum(len(batch.digests) for batch in found if batch.part == part) for part in range(3)] == [3, 3, 1]


def test_a_part_without_a_valid_row_has_a_batch_all_the_same(tmp_path: Path) -> None:
    manifest = open_manifest(str(write_manifest(tmp_path / "m.parquet", [{"prompt": None}, {"prompt": "a rug"}])))
    parts = list(enumerate(survey(manifest, Bounds(1, 1)).parts))
    first, second = batches(manifest, parts, prepare, BatchCeiling(8, pytest.fail))
    assert (first.part, first.prepared, len(first.rejected), first.last) == (0, (), 1, True)
    assert (second.part, len(second.prepared), second.last) == (1, 1, True)


def test_finished_parts_are_left_out(tmp_path: Path) -> None:
    assert {batch.part for batch in cut(tmp_path, BatchCeiling(8, pytest.fail), {0, 2})} == {1}


def test_a_ceiling_that_sinks_holds_from_the_next_batch(tmp_path: Path) -> None:
    manifest = open_manifest(str(write_manifest(tmp_path / "m.parquet", [{"prompt": f"a rug {i}"} for i in range(8)])))
    ceiling = BatchCeiling(4, pytest.fail)
    found = []
    for batch in batches(manifest, list(enumerate(survey(manifest, Bounds(8, 8)).parts)), prepare, ceiling):
        found.append(len(batch.prepared))
        ceiling.size = 2
    assert found == [4, 2, 2]
