"""`memscan diff`: what is newly flagged, what no longer, and that images of two runs are never mistaken."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from memscan.scanner.cli import invoke
from memscan.scanner.errors import UsageError
from memscan.scanner.report.diff import ADDED, ADDED_FLAGGED, FAILED, GONE, LEFT_OUT, NEITHER, NEW, STILL, diff
from memscan.scanner.report.keys import Index
from memscan.scanner.results.reader import open_results
from memscan.scanner.samples import MeasuredStep, Rejected
from tests.scanner.report.pages import level, plain_results
from tests.scanner.results.fabricated import scanned, write_results

OLD = {"rises": 0.1, "falls": 0.9, "high": 0.8, "low": 0.2, "leaves": 0.3, "fails": 0.9}
NOW = {"comes": 0.1, "comes flagged": 0.7, "low": 0.25, "high": 0.75, "falls": 0.3, "rises": 0.6}


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs of manifests in different orders, the second of another checkpoint and with an error row."""
    old = plain_results(tmp_path / "old", OLD)
    items = [scanned(row, prompt, level(value)) for row, (prompt, value) in enumerate(NOW.items())]
    failed = [Rejected(6, 0, "fails", "the image is torn"), Rejected(7, 0, None, "prompt is null")]
    return old, write_results(tmp_path / "new", [*items, *failed], settings={"bundle": "f" * 64})


def test_every_image_has_one_fate(runs: tuple[Path, Path]) -> None:
    found = diff(*map(open_results, runs), rate=0.01)
    assert found.counts == {
        NEW: 1,
        GONE: 1,
        STILL: 1,
        NEITHER: 1,
        ADDED: 1,
        ADDED_FLAGGED: 1,
        LEFT_OUT: 1,
        FAILED: 1,
    }
    assert found.newly == 2
    assert found.settings == ("bundle",)
    assert [(one.change, one.prompt) for one in found.examples] == [
        (NEW, "rises"),
        (ADDED_FLAGGED, "comes flagged"),
        (GONE, "falls"),
    ]


def test_shift_of_scores_is_of_images_scanned_in_both(runs: tuple[Path, Path]) -> None:
    """0.5, -0.6, -0.05 and 0.05: their mean is -0.025, their median 0, between the inner two."""
    shift = diff(*map(open_results, runs), rate=0.01).shift
    assert shift is not None
    assert shift["mean"] == pytest.approx(-0.025, abs=1e-7)  # rounding of float32 scores
    assert shift["median"] == pytest.approx(0.0, abs=1e-7)


def test_all_images_are_written(runs: tuple[Path, Path], tmp_path: Path) -> None:
    assert invoke(["diff", *map(str, runs), "--out", str(tmp_path / "d.parquet")]) == 0
    rows = {row["prompt"]: row for row in pq.read_table(tmp_path / "d.parquet").to_pylist()}
    assert rows["rises"] | {"old_score": 0, "new_score": 0} == {
        "change": NEW,
        "seed": 0,
        "id": None,
        "prompt": "rises",
        "old_row": None,
        "new_row": 5,
        "old_score": 0,
        "new_score": 0,
    }
    assert (rows["rises"]["old_score"], rows["rises"]["new_score"]) == (np.float32(0.1), np.float32(0.6))
    assert (rows["leaves"]["change"], rows["leaves"]["old_row"], rows["leaves"]["new_score"]) == (LEFT_OUT, 4, None)
    assert len(rows) == 8


@pytest.mark.parametrize(("allowed", "code"), [(1, 3), (2, 0)])
def test_exit_code_says_whether_too_many_are_new(
    runs: tuple[Path, Path], allowed: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["diff", *map(str, runs), "--fail-on-new", str(allowed)]) == code
    assert ("2 images are newly flagged, and --fail-on-new allows 1" in capsys.readouterr().err) == (code == 3)


def test_json_has_all_figures(runs: tuple[Path, Path], tmp_path: Path) -> None:
    assert invoke(["diff", *map(str, runs), "--json", str(tmp_path / "d.json")]) == 0
    found = json.loads((tmp_path / "d.json").read_text())
    assert found["newly"] == 2
    assert found["counts"][GONE] == 1
    assert found["examples"][0]["prompt"] == "rises"


def test_runs_of_the_same_are_the_same(tmp_path: Path) -> None:
    run = open_results(plain_results(tmp_path / "old", OLD))
    found = diff(run, run, rate=0.01)
    assert (found.counts[STILL], found.counts[NEITHER], found.newly, found.examples) == (3, 3, 0, ())


@pytest.mark.parametrize("twice", ["old", "new"])
def test_images_that_cannot_be_told_apart_are_refused(tmp_path: Path, twice: str) -> None:
    once = plain_results(tmp_path / "once", {"p": 0.1})
    both = write_results(tmp_path / "both", [scanned(row, "p", level(0.1), id=f"{row}") for row in range(2)])
    runs = (both, once) if twice == "old" else (once, both)
    with pytest.raises(UsageError, match=r"both has several images of one prompt and seed: choose another --by"):
        diff(*map(open_results, runs), rate=0.01)
    assert diff(*map(open_results, runs), by="row", rate=0.01).counts[NEITHER] == 1


def test_by_id_needs_ids(tmp_path: Path) -> None:
    run = open_results(plain_results(tmp_path / "out", OLD))
    with pytest.raises(UsageError, match=r"6 images have no id: choose another --by"):
        diff(run, run, by="id", rate=0.01)


def test_steps_that_only_one_has_do_not_compare(tmp_path: Path) -> None:
    steps = [[MeasuredStep(index, 1, 0.25, 0.5, True)] for index in (3, 4)]
    runs = [plain_results(tmp_path / f"{one[0].index}", OLD, steps=one) for one in steps]
    with pytest.raises(UsageError, match=r"no step measured by both"):
        diff(*map(open_results, runs), rate=0.01)


def test_index_tells_digests_apart_whose_halves_are_the_same() -> None:
    """Three digests begin with the same eight bytes, two of others end alike."""
    halves = np.array([[7, 1], [7, 2], [7, 3], [8, 1], [6, 1]], ">u8")
    index = Index(halves.view("V16")[:, 0])
    assert index.find(halves[::-1].copy().view("V16")[:, 0]).tolist() == [4, 3, 2, 1, 0]
    assert index.find(np.array([[7, 4], [9, 1], [0, 0]], ">u8").view("V16")[:, 0]).tolist() == [-1, -1, -1]
    assert index.repeated == 0
