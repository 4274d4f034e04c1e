"""What `memscan eval` writes beside its tables: a row for each image, a figure, JSON; and truths of seeds and pairs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memscan.scanner.cli import invoke
from memscan.scanner.evaluation.evaluate import evaluate
from memscan.scanner.evaluation.formats.merge import NOTHING
from memscan.scanner.evaluation.per_image import per_image
from memscan.scanner.evaluation.truth import GroundTruth, Truth
from memscan.scanner.results.reader import open_results
from tests.scanner.results.fabricated import scanned, write_ground_truth, write_results

TOP = np.repeat([True, False], 8)[:, None] & np.ones(16, dtype=bool)
LEFT = TOP.T


def map_of(mask: Any, level: float = 0.75) -> dict[str, Any]:
    return {"dh_uncond": (level * mask).astype(np.float32)}


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    rows = [{"prompt": "m", "kind": "local", "mask": TOP}, {"prompt": "o", "kind": "none", "mask": None}]
    return write_ground_truth(tmp_path / "truth.parquet", rows)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    half = np.arange(256).reshape(16, 16) < 64
    return write_results(
        tmp_path / "out",
        [scanned(0, "m", map_of(TOP)), scanned(1, "m", map_of(half), seed=3), scanned(2, "o", map_of(TOP & False))],
        thresholds=[{"map": "dh_uncond", "timestep": 1, "threshold": 0.5}],
    )


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_a_row_for_each_image(results: Path, truth: Path, tmp_path: Path, name: str, capsys: Any) -> None:
    file = tmp_path / name
    assert invoke(["eval", str(results), "--ground-truth", str(truth), "--per-image", str(file)]) == 0
    rows = (pq.read_table(file) if name.endswith("parquet") else pa_csv.read_csv(file)).to_pylist()
    assert [(one["row"], one["seed"], one["kind"], one["truth_share"]) for one in rows] == [
        (0, 0, "local", 0.5),
        (1, 3, "local", 0.5),
        (2, 0, "none", 0.0),
    ]
    assert [one["dh_uncond_iou_fixed"] for one in rows] == [1.0, 0.5, 1.0]
    assert [one["dh_uncond_share"] for one in rows] == [0.5, 0.25, 0.0]
    assert [one["dh_uncond_mean"] for one in rows] == [0.375, 0.1875, 0.0]
    assert all(0.4 < one["dh_uncond_iou_oracle"] <= 1 for one in rows)


def test_what_an_image_lacks_is_null(results: Path) -> None:
    known = Truth(None, "m", "local", TOP), Truth(None, "o", "memorized", None)
    rows = per_image(open_results(results), GroundTruth(known)).to_pylist()
    assert [one["dh_uncond_iou_fixed"] for one in rows] == [1.0, 0.5, None]
    assert [one["truth_share"] for one in rows] == [0.5, 0.5, None]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_figure_is_drawn(results: Path, truth: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"roc.{suffix}"
    assert invoke(["eval", str(results), "--ground-truth", str(truth), "--plot", str(file)]) == 0
    content = file.read_bytes()
    assert content.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix])
    if suffix == "png":
        with Image.open(file) as figure:
            assert min(figure.size) > 600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plot", "roc.jpg"], "--plot roc.jpg: a figure is written to a file that ends in .png, .pdf, .svg"),
        (["--per-image", "x.txt"], "--per-image x.txt: a table is written to a file that ends in .parquet or .csv"),
        (["--json", "none/x.json"], "cannot write none/x.json: No such file or directory: choose another --json"),
        (["--negatives", "none.txt"], "no ground truth at none.txt: give a file of prompts as --negatives"),
    ],
)
def test_wrong_usage_is_one_line(
    results: Path, truth: Path, tmp_path: Path, monkeypatch: Any, capsys: Any, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["eval", "out", "--ground-truth", "truth.parquet", *options]) == 2
    assert capsys.readouterr().err == f"memscan: error: {message}\n"


def test_a_figure_needs_both_sides(results: Path, tmp_path: Path, capsys: Any) -> None:
    file = write_ground_truth(tmp_path / "t.parquet", [{"prompt": "m", "kind": "local", "mask": TOP}])
    assert invoke(["eval", str(results), "--ground-truth", str(file), "--plot", str(tmp_path / "r.png")]) == 2
    assert "--plot: nothing to draw, since memorized and other images are not both there" in capsys.readouterr().err


def test_json_has_curves_and_the_three_rules(results: Path, truth: Path, tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    assert invoke(["eval", str(results), "--ground-truth", str(truth), "--json", str(file)]) == 0
    records = json.loads(file.read_text())["detection"]
    names = [one["score"] for one in records if one["kind"] == "all"]
    assert names == [f"dh_uncond_{what}" for what in ("mean", "max", "q90", "q99", "share")]
    assert records[0]["roc"] == {"fpr": [0.0, 0.0, 1.0], "tpr": [0.0, 1.0, 1.0], "thresholds": [None, 0.1875, 0.0]}
    rate = {"limit": 0.01, "captions": 1, "needed": 100, "below": None, "low": None, "high": None}
    assert records[0]["rates"][0] == rate | {"nearest": None, "flipped": None}
    assert (records[0]["positives"], records[0]["positive_captions"], records[0]["negatives"]) == (2, 1, 1)


def test_the_best_threshold_is_said_as_a_value_of_the_map(results: Path, truth: Path, tmp_path: Path) -> None:
    """At the value that is said, the map enlarged as the protocol does it gives the IoU that is said."""
    from memscan.scanner.evaluation.ground_truth import read_ground_truth
    from memscan.scanner.evaluation.resize import bilinear, nearest

    evaluation = evaluate(open_results(results), read_ground_truth(str(truth)))
    (one,) = [each for each in evaluation.records if (each.kind, each.protocol) == ("local", "oracle")]
    opened = open_results(results)
    maps = [bilinear(opened.map("dh_uncond", row).astype(np.float64), 256) for row in (0, 1)]
    assert one.iou_value is not None and one.iou_threshold is not None
    low, high = (np.log1p(max(each, 0) * 4 / 0.25**2) for each in (min(m.min() for m in maps), 0.75))
    expected = np.expm1(low + one.iou_threshold * (high - low)) * 0.25**2 / 4
    assert one.iou_value == pytest.approx(expected, rel=1e-6)
    true = nearest(TOP, 256)
    both = sum(((each >= one.iou_value) & true).sum() for each in maps)
    union = sum(((each >= one.iou_value) | true).sum() for each in maps)
    assert one.iou == pytest.approx(both / union, rel=0.01)  # cells that equal a threshold may round either way
    fixed = [each for each in evaluation.records if (each.kind, each.protocol) == ("local", "fixed")]
    assert [(each.iou_threshold, each.iou_value) for each in fixed] == [(None, 0.5)]


def test_truths_of_seeds_are_of_one_caption(results: Path) -> None:
    known = [Truth(None, "m", "local", TOP, seed=seed) for seed in (0, 3)] + [Truth(None, "o", "none", NOTHING)]
    evaluation = evaluate(open_results(results), GroundTruth(known))
    (one,) = [each for each in evaluation.records if (each.kind, each.protocol) == ("local", "fixed")]
    assert (one.images, one.captions) == (2, 1)
    only = evaluate(open_results(results), GroundTruth(known[:1] + known[2:]))
    assert max(each.images for each in only.records) == 2
    assert only.notes[0] == "1 image without ground truth, not scored: row 1 'm'"


def test_each_pair_is_localized_and_detected_once(results: Path) -> None:
    known = [Truth(None, "m", "local", mask) for mask in (TOP, LEFT)] + [Truth(None, "o", "none", NOTHING)]
    evaluation = evaluate(open_results(results), GroundTruth(known, several=True))
    found = {(each.kind, each.protocol): each for each in evaluation.records}
    # top against top 1, left 1/3; its upper half against top 1/2, left 1/5
    assert found["local", "fixed"].miou == pytest.approx((1 + 1 / 3 + 1 / 2 + 1 / 5) / 4, abs=1e-12)
    assert found["local", "fixed"].images == 4
    assert {(each.positives, each.negatives) for each in evaluation.detections} == {(2, 1)}


def test_where_a_region_is_unknown_its_kind_has_detection_only(results: Path) -> None:
    known = [Truth(None, "m", "memorized", None), Truth(None, "o", "none", NOTHING)]
    evaluation = evaluate(open_results(results), GroundTruth(known))
    ious = {(each.kind, each.protocol): each.iou for each in evaluation.records}
    assert ious["memorized", "fixed"] is None and ious["all", "fixed"] is None and ious["none", "fixed"] == 1.0
    assert {(each.kind, each.auc) for each in evaluation.detections} == {("memorized", 1.0), ("all", 1.0)}
