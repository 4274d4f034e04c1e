"""`memscan eval` on fabricated results: what is scored, what is left out and said, and the exact output."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memscan.scanner.cli import invoke
from memscan.scanner.errors import UsageError
from memscan.scanner.evaluation.evaluate import evaluate
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from memscan.scanner.results.reader import open_results
from memscan.scanner.samples import MeasuredStep, Rejected
from tests.scanner.results.fabricated import STEP, scanned, write_ground_truth, write_results

TOP = np.repeat([True, False], 8)[:, None] & np.ones(16, dtype=bool)  # the upper half of 16 x 16
EVERYTHING = np.ones((16, 16), dtype=bool)
KEYS = ["map", "step", "timestep", "kind", "protocol", "images", "captions"]
KEYS += ["iou", "iou_low", "iou_high", "miou", "accuracy", "auc", "auc_low", "auc_high"]
KEYS += [f"{name}_{what}" for name in ("iou", "miou", "accuracy") for what in ("threshold", "value")]

Map = NDArray[np.float32]


def collapsed(mask: NDArray[np.bool_], level: float = 0.75) -> Map:
    return (mask * level).astype(np.float32)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return write_ground_truth(
        tmp_path / "truth.parquet",
        [
            {"prompt": "copy", "kind": "global", "mask": EVERYTHING, "split": "heldout"},
            {"prompt": "template", "kind": "local", "mask": TOP, "split": "heldout"},
            {"prompt": "fresh", "kind": "none", "mask": ~EVERYTHING, "split": "calibration"},
        ],
    )


def three_images() -> list[Any]:
    return [
        scanned(0, "copy", {"dh_uncond": collapsed(EVERYTHING)}),
        scanned(1, "template", {"dh_uncond": collapsed(TOP)}),
        scanned(2, "fresh", {"dh_uncond": collapsed(~EVERYTHING)}),
    ]


def figures(results: Path, truth: Path, **options: Any) -> dict[tuple[str, int, str, str], Any]:
    evaluation = evaluate(open_results(results), read_ground_truth(str(truth)), **options)
    return {(record.map, record.step, record.kind, record.protocol): record for record in evaluation.records}


def test_perfect_results_score_one_at_the_fixed_threshold(tmp_path: Path, truth: Path) -> None:
    found = figures(write_results(tmp_path / "out", three_images()), truth)
    assert len(found) == 8
    for kind, images in {"global": 1, "local": 1, "none": 1, "all": 3}.items():
        record = found["dh_uncond", 49, kind, "fixed"]
        assert (record.iou, record.miou, record.accuracy, record.images) == (1.0, 1.0, 1.0, images)
        assert record.auc == (None if kind == "none" else 1.0)


def test_each_kind_is_normalised_over_its_own_images(tmp_path: Path, truth: Path) -> None:
    """Alone, the local map spans 0 to 1 whatever its level; among all, a level far below the global's drowns."""
    images = three_images()
    images[1] = scanned(1, "template", {"dh_uncond": collapsed(TOP, 0.0005)})
    images[2] = scanned(2, "fresh", {"dh_uncond": collapsed(TOP, 0.0001)})
    found = figures(write_results(tmp_path / "out", images), truth)
    # The bilinear ramp between the halves is 16 of 256 rows wide; a threshold puts the edge within 2 rows of it.
    assert found["dh_uncond", 49, "local", "oracle"].iou > 126 / 128
    # Among all, log1p(.0005 * 64) / log1p(.75 * 64) = .008, under every threshold but 0: it is missed.
    assert found["dh_uncond", 49, "all", "oracle"].iou == pytest.approx(1 / 1.5, abs=1e-12)
    # No pixel of kind none is true, and threshold 1 still predicts the greatest: the paper's IoU is 0 by construction.
    assert found["dh_uncond", 49, "none", "oracle"].iou == 0.0


def test_maps_at_calibrated_thresholds(tmp_path: Path, truth: Path) -> None:
    """ds_base has a threshold for this timestep, ds_uncond none; the threshold is compared in float32, not float16."""
    third = np.float32(1 / 3)
    maps = {"dh_uncond": collapsed(TOP), "ds_base": np.where(TOP, third, 0).astype(np.float32)}
    results = write_results(
        tmp_path / "out",
        [scanned(1, "template", maps | {"ds_uncond": maps["ds_base"]})],
        thresholds=[
            {"map": "ds_base", "timestep": 1, "threshold": float(np.float16(third)) + 1e-6},
            {"map": "ds_uncond", "timestep": 21, "threshold": 0.1},
        ],
    )
    found = figures(results, truth)
    assert found["ds_base", 49, "local", "fixed"].iou == 0.0
    assert ("ds_uncond", 49, "local", "fixed") not in found
    assert ("ds_uncond", 49, "local", "oracle") in found
    notes = evaluate(open_results(results), read_ground_truth(str(truth))).notes
    assert notes == ("no calibrated threshold, hence no fixed protocol, of ds_uncond at step 49",)


def test_without_maps_the_fixed_mask_and_detection_are_scored(tmp_path: Path, truth: Path, capsys: Any) -> None:
    maps = {"dh_uncond": collapsed(TOP), "h_cond": collapsed(EVERYTHING)}
    free = {"dh_uncond": collapsed(~EVERYTHING), "h_cond": collapsed(EVERYTHING)}
    results = write_results(
        tmp_path / "out", [scanned(0, "template", maps), scanned(1, "fresh", free)], save_maps=False
    )
    assert invoke(["eval", str(results), "--ground-truth", str(truth)]) == 0
    out, err = capsys.readouterr()
    assert out == (
        "step 49, timestep 1\n"
        "fixed protocol: the mask at memscan's own threshold\n"
        "metric             kind      images  IoU [95%]         at value   mIoU  acc.\n"
        "dh_uncond          local          1  1.00                   0.5   1.00  1.00\n"
        "dh_uncond          none           1  1.00                   0.5   1.00  1.00\n"
        "dh_uncond          all            2  1.00 [1.00, 1.00]      0.5   1.00  1.00\n"
        "\n"
        "step 49, timestep 1\n"
        "detection: images of the kind against images of kind none\n"
        "no rate at 1% false positives: it takes 100 captions of kind none, and there are 1\n"
        "no rate at 0.1% false positives: it takes 1000 captions of kind none, and there are 1\n"
        f"{'score':<20}kind      images  none  AUC [95%]         TPR 1%    .1%\n"
        + "".join(
            f"{score:<20}{kind:<10}     1     1  {auc}                   -      -\n"
            for score, auc in [
                *((f"dh_uncond_{what}", "1.00") for what in ("mean", "max", "q90", "q99", "share")),
                *((f"h_cond_{what}", ".500") for what in ("mean", "max", "q90", "q99")),
            ]
            for kind in ("local", "all")
        )
    )
    assert err == (
        f"memscan: no maps in {results}: the oracle protocol needs them, and so does the fixed one but for dh_uncond;"
        " scan again with `memscan run --maps`\n"
    )


def test_scores_are_records_of_detection_and_low_ones_mean_memorized_where_the_metric_says_so(
    tmp_path: Path, truth: Path
) -> None:
    maps = {"dh_uncond": collapsed(TOP)}
    values = [("copy", 9.0, 20.0), ("template", 1.0, 30.0), ("fresh", 2.0, 200.0)]
    images = [
        scanned(row, prompt, maps, scores={"guidance_norm": norm, "flipd": dimension})
        for row, (prompt, norm, dimension) in enumerate(values)
    ]
    found = figures(write_results(tmp_path / "out", images), truth)
    assert found["guidance_norm", 49, "global", "fixed"].auc == 1.0
    assert found["guidance_norm", 49, "local", "fixed"].auc == 0.0
    assert found["flipd", 49, "all", "fixed"].auc == 1.0
    assert ("flipd", 49, "none", "fixed") not in found
    assert {record.iou for key, record in found.items() if key[0] == "flipd"} == {None}
    assert ("flipd", 49, "all", "oracle") not in found
    assert not any(name == "update_norm" for name, *_ in found)  # not measured


def test_a_score_that_some_images_lack_is_said_and_not_scored(tmp_path: Path, truth: Path) -> None:
    maps = {"dh_uncond": collapsed(TOP)}
    images = [scanned(0, "copy", maps, scores={"guidance_norm": 1.0}), scanned(1, "fresh", maps)]
    results = write_results(tmp_path / "out", images)
    assert not any(name == "guidance_norm" for name, *_ in figures(results, truth))
    notes = evaluate(open_results(results), read_ground_truth(str(truth))).notes
    assert "not all images have guidance_norm at step 49: it is not scored there" in notes


def test_json_holds_a_record_for_each_line_of_the_table(tmp_path: Path, truth: Path, capsys: Any) -> None:
    results = write_results(tmp_path / "out", three_images())
    file = tmp_path / "figures.json"
    assert invoke(["eval", str(results), "--ground-truth", str(truth), "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert list(found) == ["localization", "detection", "notes"]
    records = found["localization"]
    assert len(records) == 8
    assert all(list(record) == KEYS for record in records)
    assert {(r["kind"], r["protocol"]) for r in records} == {
        (kind, protocol) for kind in ("global", "local", "none", "all") for protocol in ("oracle", "fixed")
    }


def test_error_rows_are_counted_and_never_scored(tmp_path: Path, truth: Path, capsys: Any) -> None:
    items = [*three_images(), Rejected(3, 0, "template", "seed is too large"), Rejected(4, 0, None, "prompt is null")]
    results = write_results(tmp_path / "out", items)
    assert invoke(["eval", str(results), "--ground-truth", str(truth)]) == 0
    assert capsys.readouterr().err == "memscan: 2 of 5 result rows have status error and are not scored\n"
    assert figures(results, truth)["dh_uncond", 49, "all", "fixed"].images == 3


def test_images_without_ground_truth_are_counted_and_named(tmp_path: Path, truth: Path) -> None:
    strangers = [scanned(3 + n, f"stranger {n}", {"dh_uncond": collapsed(TOP)}) for n in range(5)]
    results = write_results(tmp_path / "out", three_images() + strangers, finished=False)
    evaluation = evaluate(open_results(results), read_ground_truth(str(truth)))
    assert evaluation.notes == (
        "the run is not finished: only its finished parts are evaluated",
        "5 images without ground truth, not scored: row 3 'stranger 0', row 4 'stranger 1', row 5 'stranger 2'"
        " and 2 more",
    )
    assert max(record.images for record in evaluation.records) == 3


def test_split_scores_its_prompts_only(tmp_path: Path, truth: Path) -> None:
    found = figures(write_results(tmp_path / "out", three_images()), truth, split="heldout")
    assert {kind for _, _, kind, _ in found} == {"global", "local", "all"}
    assert found["dh_uncond", 49, "all", "fixed"].images == 2
    assert found["dh_uncond", 49, "all", "fixed"].auc is None


def test_every_step_is_scored_on_the_images_measured_there(tmp_path: Path, truth: Path) -> None:
    steps = (MeasuredStep(40, 101, 0.5, 0.5, False), STEP)
    low, high = {"dh_uncond": collapsed(TOP)}, {"dh_uncond": collapsed(EVERYTHING)}
    results = write_results(tmp_path / "out", [scanned(0, "template", low, high)], steps=steps)
    found = figures(results, truth)
    assert found["dh_uncond", 40, "local", "fixed"].iou == 1.0
    assert found["dh_uncond", 49, "local", "fixed"].iou == 0.5
    assert found["dh_uncond", 40, "local", "fixed"].timestep == 101
    notes = evaluate(open_results(results), read_ground_truth(str(truth))).notes
    assert notes == ("the masks of step 40 were made at a threshold that is not calibrated",)


@pytest.mark.parametrize("save_maps", [True, False])
def test_steps_without_masks_have_no_fixed_protocol_and_it_is_said(
    tmp_path: Path, truth: Path, save_maps: bool
) -> None:
    steps = (MeasuredStep(40, 101, 0.5, None, False), STEP)
    low, high = {"dh_uncond": collapsed(TOP)}, {"dh_uncond": collapsed(EVERYTHING)}
    items = [scanned(0, "template", low, high)]
    results = write_results(tmp_path / "out", items, steps=steps, save_maps=save_maps)
    found = figures(results, truth)
    assert found["dh_uncond", 49, "local", "fixed"].iou == 0.5
    if save_maps:
        assert found["dh_uncond", 40, "local", "oracle"].iou is not None
        assert ("dh_uncond", 40, "local", "fixed") not in found
    else:
        assert found["dh_uncond", 40, "local", "fixed"].iou is None
    notes = evaluate(open_results(results), read_ground_truth(str(truth))).notes
    assert notes[0] == (
        "no threshold, hence no mask and no fixed protocol, of dh_uncond at step 40: nothing was calibrated at the"
        " settings of the run, and no --threshold was given"
    )
    assert not any("not calibrated" in note for note in notes)


def test_seeds_of_a_prompt_are_one_caption(tmp_path: Path, truth: Path) -> None:
    maps = {"dh_uncond": collapsed(TOP)}
    results = write_results(tmp_path / "out", [scanned(0, "template", maps, seed=seed) for seed in range(4)])
    record = figures(results, truth)["dh_uncond", 49, "local", "fixed"]
    assert (record.images, record.captions, record.iou_low) == (4, 1, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nowhere", "--ground-truth", "G"],
            "no results in nowhere: give the folder that `memscan run` wrote (its --out)",
        ),
        (
            ["R", "--ground-truth", "none.parquet"],
            "no ground truth at none.parquet: give a file, or the word testbed",
        ),
        (
            ["R", "--ground-truth", "G", "--split", "test"],
            "the ground truth has no split 'test': it has calibration, heldout",
        ),
        (
            ["R", "--ground-truth", "G", "--split", "calibration"],
            "nothing to evaluate in R: all its prompts belong to another split than calibration",
        ),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path, truth: Path, capsys: Any, monkeypatch: Any, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "R", three_images()[:2])
    truth.rename(tmp_path / "G")
    assert invoke(["eval", *arguments]) == 2
    assert capsys.readouterr().err == f"memscan: error: {message}\n"


def test_a_missing_map_is_named(tmp_path: Path, truth: Path) -> None:
    results = write_results(tmp_path / "out", three_images())
    other = write_results(tmp_path / "other", three_images()[:2])
    (other / "maps" / "part-00000.parquet").replace(results / "maps" / "part-00000.parquet")
    with pytest.raises(
        UsageError, match=r"maps lacks dh_uncond at step 49 of 1 images, the first \(row, seed\) \(2, 0\)"
    ):
        figures(results, truth)
