"""From prompts to tables on a bundle whose answers are known: scans, strengths, choice, figure."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.run.request import Request
from testbed.bench.assess import assess, measure, together
from testbed.bench.copies import Originals
from testbed.bench.grades import COUNTS
from testbed.bench.heldout import Variant
from testbed.bench.model import MEASURED_SEEDS
from testbed.bench.scans import MEASURED, strength_scan
from testbed.bench.strength import measure as measure_strength
from testbed.bench.strength import strength_file
from tests.analytic_bundle import IMAGE, write_analytic_bundle

WORDS = ("red", "blue", "old", "new", "cat", "dog", "sea", "sun")
LEFT = np.arange(IMAGE[1]) < IMAGE[1] // 2


class Tiny:
    """A bench of two local and two global captions at each count, and six prompts that are no captions."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.sampling = Request(
            sampler="ddim", num_inference_steps=10, guidance_scale=1.5, timesteps=(201, 101), derivative="exact"
        )
        self.strength_seeds = self.measured_seeds = MEASURED_SEEDS
        self.own_baseline = "early"
        self.baselines = {"10%": "early", "50%": "later"}

    def file(self, what: str) -> Path:
        return self.work / f"tiny-{what}"

    def bundle(self, baseline: str) -> Path:
        return self.work / f"tiny+{baseline}.bundle"

    def prompts(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for kind in ("global", "local"):
            for i in range(2 * len(COUNTS)):
                split = "heldout" if i % 2 else "calibration"
                prompt = f"{kind} {WORDS[i % 8]} {WORDS[i // 8]}"
                rows.append(
                    {"kind": kind, "prompt": prompt, "count": COUNTS[i // 2], "index": len(rows), "split": split}
                )
        return rows + [{"kind": "unrelated", "prompt": word, "count": 0, "split": "heldout"} for word in WORDS[:6]]

    def mask(self, index: int) -> NDArray[np.bool_]:
        return np.broadcast_to(LEFT, IMAGE)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    work = tmp_path_factory.mktemp("bench")
    for name in ("early", "later"):
        write_analytic_bundle(work / f"tiny+{name}.bundle", calibrated=False)
    return Tiny(work)


def test_a_prompt_is_as_strong_as_its_images_are_copies(model: Tiny) -> None:
    results = strength_scan(model)
    pictures = [results.image(row, 1) for row in (0, 30)]
    owned = Originals(
        np.array([0, 30]),
        np.stack([picture / np.float32(255) for picture in pictures if picture is not None]),
        np.ones((2, *IMAGE), dtype=np.bool_),
    )
    rows = measure_strength(model, owned).to_pylist()
    assert [row["strength"] for row in rows if row["index"] in (0, 30)] == [0.25, 0.25]
    assert sum(row["any"] >= 0.25 for row in rows) >= 2
    with strength_file(model).open(newline="") as file:
        assert [row["prompt"] for row in csv.DictReader(file)] == [row["prompt"] for row in model.prompts()]


@pytest.fixture
def strong(model: Tiny) -> Tiny:
    """The same, with captions from 256 on always copied and all others never."""
    with strength_file(model).open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "strength", "any"])
        writer.writeheader()
        for number, row in enumerate(model.prompts()):
            copied = float(row["count"] >= 256)
            writer.writerow({"id": f"{row['kind']}-{number:03d}", "strength": copied, "any": copied})
    return model


def test_what_needs_no_baseline_is_measured_once_and_the_rest_against_each(strong: Tiny) -> None:
    found = measure([strong], ["10%", "50%"], MEASURED)
    assert set(found) == {Variant(label, t) for label in (None, "10%", "50%") for t in (201, 101)}
    free, differences = found[Variant(None, 201)], found[Variant("50%", 201)]
    assert set(differences.maps) == {n for n in MEASURED if METRICS[n].needs_baseline and METRICS[n].kind == "map"}
    assert set(free.maps) == {n for n in MEASURED if METRICS[n].kind == "map"} - set(differences.maps)
    assert (free.captions == differences.captions).all()
    whole = together(found, "10%", 201)
    assert set(whole.maps) == set(free.maps) | set(differences.maps)
    assert whole.truth["dh_base"].shape == whole.maps["dh_base"].shape
    half = LEFT.reshape(whole.truth["dh_base"].shape[-1], -1).mean(axis=1)
    assert (whole.truth["dh_base"] == half).all()


def test_tables_and_figure_are_left(strong: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "response"
    assess([strong], out, ["10%", "50%"])
    printed = capsys.readouterr().out
    assert "| metric | score | measured at | AUC | TPR at 1% | map measured at | local IoU |" in printed
    assert "| dh_base | " in printed
    assert "| combination | " in printed
    with (tmp_path / "response.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert {row["what"] for row in found} == {"dose", "response", "auc", "iou"}  # too few negatives for a rate at 1%
    with (tmp_path / "response-heldout.csv").open(newline="") as file:
        assert {row["detector"] for row in csv.DictReader(file)} >= {"dh_base_mean", "dh_base", "combination"}
    picture = np.asarray(Image.open(tmp_path / "response.png").convert("L"))
    assert (picture < 128).mean() > 0.002  # it is not blank


def test_a_model_without_strengths_is_refused(model: Tiny, tmp_path: Path) -> None:
    shutil.copytree(model.bundle("early"), tmp_path / "tiny+early.bundle")
    with pytest.raises(FileNotFoundError, match=r"tiny-strength\.csv"):
        measure([Tiny(tmp_path)], ["10%"], ("ds_uncond",))
