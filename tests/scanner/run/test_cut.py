"""Parts are bounded by rows and by images, and where one ends depends on the rows before its end alone."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from memscan.scanner.errors import ManifestError
from memscan.scanner.input.manifest import Manifest, open_manifest
from memscan.scanner.results.extent import Extent
from memscan.scanner.run.cut import Bounds, cut, part_inputs, rows_of, survey
from tests.scanner.run.small_run import ROWS, write_manifest

BOUNDS = Bounds(rows=3, images=4)


def open_rows(tmp_path: Path, rows: list[dict[str, Any]]) -> Manifest:
    return open_manifest(str(write_manifest(tmp_path / "m.parquet", rows)))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1, 1, 1, 1], [(0, 0, 3, 0, 3), (3, 0, 4, 0, 1)]),
        ([2, 2, 1], [(0, 0, 2, 0, 4), (2, 0, 3, 0, 1)]),
        ([3, 2], [(0, 0, 1, 0, 3), (1, 0, 2, 0, 2)]),  # a row stays whole where it can
        ([4, 1], [(0, 0, 1, 0, 4), (1, 0, 2, 0, 1)]),
        ([1, 9, 1], [(0, 0, 1, 0, 1), (1, 0, 1, 4, 4), (1, 4, 1, 8, 4), (1, 8, 3, 0, 2)]),
        ([8, 8], [(0, 0, 0, 4, 4), (0, 4, 1, 0, 4), (1, 0, 1, 4, 4), (1, 4, 2, 0, 4)]),
        ([], [(0, 0, 0, 0, 0)]),  # one part, so that readers find its columns
    ],
    ids=["rows", "images", "whole row", "full row", "spread row", "exact multiples", "nothing"],
)
def test_parts_have_at_most_so_many_rows_and_images(counts: list[int], expected: list[tuple[int, ...]]) -> None:
    assert [tuple(extent) for extent in cut(counts, BOUNDS)] == expected


def test_rows_that_are_added_change_no_part_but_the_last() -> None:
    for counts in itertools.product((1, 2, 4, 5, 9), repeat=4):
        parts = list(cut(counts, BOUNDS))
        assert sum(extent.images for extent in parts) == sum(counts)
        assert all(1 <= extent.images <= 4 and extent.last_row - extent.first_row < 3 for extent in parts)
        for extra in (1, 4, 7):
            assert list(cut([*counts, extra], BOUNDS))[: len(parts) - 1] == parts[:-1]


def test_parts_hold_every_image_once_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    rows = [{"prompt": "a rug", "seed": [9, 3]}, {"prompt": "a mug", "seed": list(range(11, 0, -1))}, *ROWS]
    manifest = open_rows(tmp_path, rows)
    parts = list(enumerate(survey(manifest, BOUNDS).parts))
    found = [(item.row, item.seed) for _, row in rows_of(manifest, parts) for item in row.items]
    assert found == [(row, seed) for row, values in enumerate(rows) for seed in values["seed"]]
    images = {number: 0 for number, _ in parts}
    for number, row in rows_of(manifest, parts):
        images[number] += len(row.items)
    assert images == {number: extent.images for number, extent in parts}


def test_parts_that_are_no_neighbours_are_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = open_rows(tmp_path, [{"prompt": f"a rug {n}"} for n in range(12)])
    parts = list(enumerate(survey(manifest, BOUNDS).parts))
    ranges: list[tuple[int, int]] = []
    original = Manifest.rows

    def rows(manifest: Manifest, start: int, stop: int) -> Any:
        ranges.append((start, stop))
        return original(manifest, start, stop)

    monkeypatch.setattr(Manifest, "rows", rows)
    numbers = [item.part for item in rows_of(manifest, [parts[0], parts[2], parts[3]])]
    assert numbers == [0] * 3 + [2] * 3 + [3] * 3
    assert ranges == [(0, 3), (6, 12)]


def test_digest_of_a_part_speaks_of_its_own_seeds_alone(tmp_path: Path) -> None:
    def digests(seeds: list[int]) -> list[str]:
        manifest = open_rows(tmp_path, [{"prompt": "a rug", "seed": seeds}])
        return [made.digest for made in part_inputs(manifest, list(enumerate(survey(manifest, BOUNDS).parts)))]

    first, second, third = digests(list(range(10)))
    assert len({first, second, third}) == 3
    assert digests([*range(9), 99])[:2] == [first, second]
    assert digests([*range(9), 99])[2] != third
    assert digests(list(range(11)))[:2] == [first, second]


@pytest.mark.parametrize(
    ("rows", "how"),
    [
        (ROWS[:4], "rows 3 to 5 have fewer rows"),
        ([*ROWS[:4], ROWS[4] | {"seed": [1, 2]}, *ROWS[5:]], "rows 3 to 5 have 4 images in place of 3"),
    ],
    ids=["rows", "images"],
)
def test_manifest_that_changes_after_it_was_counted_is_refused(
    rows: list[dict[str, Any]], how: str, tmp_path: Path
) -> None:
    manifest = open_rows(tmp_path, ROWS)
    parts = list(enumerate(survey(manifest, BOUNDS).parts))
    changed = open_rows(tmp_path, rows)
    with pytest.raises(ManifestError) as caught:
        list(rows_of(changed, parts))
    assert str(caught.value) == (
        f"the manifest was changed while it was scanned: {how}: restore it, then run the same command again"
    )


def test_survey_counts_rows_images_and_bad_ones(tmp_path: Path) -> None:
    found = survey(open_rows(tmp_path, ROWS), Bounds(256, 1024))
    assert (found.census.rows, found.census.images, found.census.rejected) == (7, 8, 1)
    assert found.parts == (Extent(0, 0, 7, 0, 8),)
