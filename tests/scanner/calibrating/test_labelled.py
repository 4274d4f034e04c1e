"""Labelled captions choose: every choice of a calibration that has them, and what the other half of them gives."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from memscan.scanner.calibrating.labelled import MaskChoice, _best, halves
from memscan.scanner.calibration.record import FILE, Overlap
from memscan.scanner.cli import invoke
from tests.analytic_bundle import write_analytic_bundle
from tests.scanner.calibrating.test_calibrate import CLEAN
from tests.scanner.results.fabricated import write_ground_truth
from tests.scanner.run.small_run import error_line
from tests.scanner.run.test_screening import norm

LEFT = np.zeros((32, 32), bool)
LEFT[:, :16] = True
WHOLE, NOTHING = np.ones((32, 32), bool), np.zeros((32, 32), bool)
TRUTHS = [
    ("a memorized poster", "local", LEFT),
    ("a memorized mug", "local", LEFT),
    ("a copied rug", "global", WHOLE),
    ("a copied phone", "global", WHOLE),
    ("a city", "none", NOTHING),
    ("a red forest", "none", NOTHING),
]


def files(folder: Path, truths: list[tuple[str, str, NDArray[np.bool_]]] = TRUTHS) -> list[str]:
    """The options that name prompts and truth, and the clean prompts."""
    (folder / "labelled.txt").write_text("\n".join(prompt for prompt, _, _ in truths))
    (folder / "clean.txt").write_text("\n".join(CLEAN))
    rows = [{"prompt": prompt, "kind": kind, "mask": mask} for prompt, kind, mask in truths]
    truth = write_ground_truth(folder / "truth.parquet", rows)
    return [
        *("--labelled", str(folder / "labelled.txt"), "--ground-truth", str(truth)),
        *("--clean", str(folder / "clean.txt"), "--rate", "0.05", "--threads", "1"),
    ]


def test_labels_choose_the_cheapest_that_is_as_good(tmp_path: Path) -> None:
    """A diagonal Jacobian is exact by any probes, the shallow derivative a multiple of it: all are as good."""
    bundle = tmp_path / "bundle"
    write_analytic_bundle(bundle, calibrated=False)
    assert invoke(["calibrate", str(bundle), *files(tmp_path), "--timestep", "201", "--timestep", "1"]) == 0
    record = json.loads((bundle / FILE).read_text())
    settings, chosen = record["settings"], record["recommended"]
    assert (settings["derivative"], settings["probes"]["count"]) == ("shallow", 4)
    assert chosen["mask_map"] == "dh_uncond"
    assert "IoU 1.000 on the half that chose, 1.000 on the half held out; AUC 1.000" in chosen["why"]
    level = next(level for level in record["levels"] if level["timestep"] == chosen["timestep"])
    assert level["maps"]["dh_uncond"]["labelled"] == {"chosen_on": 1.0, "held_out": 1.0}
    assert level["maps"]["dh_uncond"]["threshold"] > 0.1


def test_labels_say_how_many_memorized_images_the_screening_lets_pass(tmp_path: Path) -> None:
    """Red is far from everything, memorized or not; two of the four memorized prompts have it. Seeds are 0."""
    bundle = tmp_path / "bundle"
    write_analytic_bundle(bundle, calibrated=False)
    truths = [(prompt.replace("memorized", "red memorized"), kind, mask) for prompt, kind, mask in TRUTHS]
    asked = ["--timestep", "201", "--derivative", "exact", "--num-probes", "8"]
    assert invoke(["calibrate", str(bundle), *files(tmp_path, truths), *asked]) == 0
    screen = json.loads((bundle / FILE).read_text())["screen"]
    norms = [norm(bundle, prompt, 0) for prompt, kind, _ in truths if kind != "none"]
    assert sum(one >= screen["limit"]["threshold"] for one in norms) == 2
    # Clopper and Pearson's bounds are the 2.5% quantile of Beta(2, 3) and the 97.5% quantile of Beta(3, 2).
    low, high = stats.beta.ppf(0.025, 2, 3), stats.beta.ppf(0.975, 3, 2)
    assert screen["labelled"] == {
        "passed": 2,
        "images": 4,
        "low": pytest.approx(low, abs=1e-9),
        "high": pytest.approx(high, abs=1e-9),
    }


def test_what_is_asked_for_is_not_chosen(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    write_analytic_bundle(bundle, calibrated=False)
    asked = ["--timestep", "101", "--derivative", "exact", "--num-probes", "16", "--mask-map", "dh_base"]
    assert invoke(["calibrate", str(bundle), *files(tmp_path), *asked, "--score", "ds_uncond_max"]) == 0
    record = json.loads((bundle / FILE).read_text())
    assert record["settings"]["derivative"] == "exact"
    assert record["settings"]["probes"]["count"] == 16
    assert record["recommended"] | {"why": ""} == {
        "timestep": 101,
        "mask_map": "dh_base",
        "score_name": "ds_uncond_max",
        "why": "",
    }


def test_labelled_and_ground_truth_belong_together(
    tmp_path: Path, analytic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["calibrate", str(analytic), "--labelled", "m.txt"]) == 2
    assert "--labelled and --ground-truth belong together" in capsys.readouterr().err
    options = files(tmp_path)
    rows = [
        {"prompt": prompt, "kind": kind if kind == "none" else "memorized", "mask": None} for prompt, kind, _ in TRUTHS
    ]
    write_ground_truth(tmp_path / "truth.parquet", rows)
    command = ["calibrate", str(analytic), *options, "--out", str(tmp_path / "c.json")]
    assert "no region is known of any prompt" in error_line(command, 2, capsys)


def test_halves_split_every_kind_by_captions() -> None:
    captions = np.array([4, 4, 7, 7, 9, 1, 2, 2])
    kinds = np.array(["local"] * 5 + ["none"] * 3)
    assert halves(captions, kinds).tolist() == [True, True, False, False, True, True, False, False]


def test_usual_map_is_kept_where_it_is_nearly_as_good() -> None:
    found = [MaskChoice(name, 1, 0.5, Overlap(iou, None)) for name, iou in (("a", 0.9), ("b", 0.895), ("c", 0.5))]
    assert [_best(found, usual).name for usual in ("a", "b", "c")] == ["a", "b", "a"]
