"""What planning a large run asks of store and manifest: counted, since a clock says nothing on a busy machine."""

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memscan.scanner.input.manifest import Manifest, open_manifest, prompt_manifest
from memscan.scanner.results import layout
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.run.complete import complete
from memscan.scanner.run.cut import Bounds, Survey, survey
from memscan.scanner.run.share import Share
from memscan.scanner.settings import Measurement

PARTS, ROWS = 10_000, 2_560_000


class Listed:
    """A store that holds so many parts of results and maps, and counts what it is asked."""

    path, at_once = Path("night"), 1

    def __init__(self, parts: int) -> None:
        self.asked: collections.Counter[str] = collections.Counter()
        self._parts = parts

    def names(self, prefix: str) -> Iterator[str]:
        self.asked["names"] += 1
        place = layout.results_part if prefix == layout.RESULTS else layout.maps_part
        return (place(number) for number in range(self._parts))

    def open(self, name: str) -> IO[bytes]:
        self.asked["open"] += 1
        raise AssertionError(name)


class Unread:
    """A source of so many rows without seeds, which remembers which of them were read."""

    def __init__(self, count: int) -> None:
        self.num_rows, self.used, self.read = count, {"prompt": "prompt"}, range(0)

    def rows(self, start: int, stop: int, *, images: bool) -> Iterator[Any]:
        self.read = range(start, stop)
        return iter(())


def many_rows(source: Unread) -> Manifest:
    return Manifest("m", source.num_rows, {}, sources=(source,))  # type: ignore[arg-type]


def test_ten_thousand_parts_are_planned_without_reading_a_row_of_other_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Unread(ROWS)
    monkeypatch.setattr(
        "memscan.scanner.input.manifest._all_of",
        lambda source, start, stop, images: source.rows(start, stop, images=images),
    )
    wanted = survey(many_rows(source), Bounds(256, 1024), Share(37, 100))
    assert (len(wanted.parts), wanted.census.images) == (PARTS, ROWS)
    assert source.read == range(3700 * 256, 3800 * 256)
    assert wanted.parts[3700][:3] == (3700 * 256, 0, 3701 * 256)


@pytest.mark.parametrize("with_maps", [False, True])
def test_share_that_ends_while_others_work_lists_and_opens_nothing(with_maps: bool) -> None:
    store = Listed(PARTS - 1)
    wanted = Survey(None, tuple(range(PARTS)))  # type: ignore[arg-type]
    measurement = Measurement.__new__(Measurement)
    for name, value in {"save_maps": with_maps, "save_images": with_maps}.items():
        object.__setattr__(measurement, name, value)
    assert complete(OutputFolder(store), wanted, range(100), b"", measurement) == 1  # type: ignore[arg-type]
    assert store.asked == {"names": 1 + with_maps}


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9])
@pytest.mark.parametrize("bounds", [Bounds(4, 16), Bounds(8, 3)])
def test_shares_cut_a_manifest_as_a_whole_run_does(rows: int, bounds: Bounds, tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a mug", None, "a hat"] * 3}).slice(0, rows), tmp_path / "m.parquet")
    for manifest in (open_manifest(str(tmp_path / "m.parquet")), prompt_manifest(("a mug",) * rows)):
        whole = survey(manifest, bounds)
        shares = [survey(manifest, bounds, Share(index, 3)) for index in range(3)]
        assert [share.parts for share in shares] == [whole.parts] * 3
        assert sum(share.census.rejected for share in shares) == whole.census.rejected
        assert {share.census.images for share in shares} == {whole.census.images}


def test_manifest_with_seeds_is_read_whole_by_every_share(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a mug", "a hat"], "seed": [[1, 2, 3], [4]]}), tmp_path / "m.parquet")
    manifest = open_manifest(str(tmp_path / "m.parquet"))
    assert not manifest.one_image_a_row
    assert survey(manifest, Bounds(1, 4), Share(1, 2)) == survey(manifest, Bounds(1, 4))
