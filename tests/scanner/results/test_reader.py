"""Results read back: what was damaged since is never taken for what was measured."""

import errno
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.errors import UsageError
from memscan.scanner.results.reader import open_results
from memscan.scanner.results.store import LocalStore
from tests.scanner.results.fabricated import scanned, write_ground_truth, write_results


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three images, whose maps do not compress."""
    noise = np.random.RandomState(0).rand(3, 64, 64).astype(np.float32)
    items = [scanned(row, f"p{row}", {"dh_uncond": noise[row]}) for row in range(3)]
    return write_results(tmp_path / "out", items, images={(0, 0): b"the image"})


def flip(file: Path, place: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)


def test_flipped_bit_of_maps_stops_those_who_read_them(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = results / "maps" / "part-00000.parquet"
    flip(maps, 0.5)
    truth = write_ground_truth(tmp_path / "t.parquet", [{"prompt": "p0", "kind": "global", "mask": None}])
    for command in (["eval", str(results), "--ground-truth", str(truth)], ["show", str(results)]):
        assert invoke(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"memscan: error: {maps} is damaged (could not verify page integrity, CRC checksum")
        assert line.endswith("): the command of the run does it again")


def test_flipped_bit_of_results_is_found(results: Path) -> None:
    part = results / "results" / "part-00000.parquet"
    rows = pq.read_metadata(part).row_group(0).column(0)
    end = rows.dictionary_page_offset + rows.total_compressed_size
    content = bytearray(part.read_bytes())
    content[end - 1] ^= 1  # the last byte of the column's last page
    part.write_bytes(content)
    with pytest.raises(UsageError, match=r"part-00000.parquet is damaged \(could not verify page integrity"):
        open_results(results).rows(["row", "seed", "step_index"])


@pytest.mark.parametrize("content", [None, b"another"], ids=["missing", "altered"])
def test_image_that_is_not_what_was_saved_is_found(content: bytes | None, results: Path) -> None:
    opened, image = open_results(results), results / "images" / "00000" / "00000000-0.png"
    assert (opened.image_file((0, 0)), opened.image_file((1, 0))) == (b"the image", None)
    image.unlink() if content is None else image.write_bytes(content)
    with pytest.raises(UsageError, match=r"00000000-0\.png is damaged"):
        opened.image_file((0, 0))


def test_disk_that_fails_is_not_called_damage(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_results(results)

    def fail(store: LocalStore, name: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(LocalStore, "open", fail)
    with pytest.raises(OSError, match="Input/output error"):
        opened.rows(["row", "seed", "step_index"])


def test_rows_come_in_the_order_of_the_manifest_whatever_part_they_are_in(tmp_path: Path) -> None:
    """The seeds of one row may lie in two parts, where they are sorted each for itself."""
    maps = {"dh_uncond": np.zeros((8, 8), np.float32)}
    write_results(tmp_path / "a", [scanned(0, "p", maps, seed=seed) for seed in (1, 3)], save_maps=False)
    write_results(tmp_path / "b", [scanned(0, "p", maps, seed=seed) for seed in (0, 2)], save_maps=False)
    (tmp_path / "b" / "results" / "part-00000.parquet").rename(tmp_path / "a" / "results" / "part-00001.parquet")
    table = open_results(tmp_path / "a").rows(["row", "seed", "step_index"])
    assert table["seed"].to_pylist() == [0, 1, 2, 3]
