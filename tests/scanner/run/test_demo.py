"""`memscan demo` in small: the whole chain of scan, evaluation and sheet, on the bundle whose answers are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memscan.scanner import embedded
from memscan.scanner.cli import invoke
from tests.scanner.results.fabricated import write_ground_truth

LEFT = np.arange(8) < np.full((8, 1), 4)  # what "memorized" collapses in the analytic model: the left half
PROMPTS = {
    "global": ["a copied poster", "a copied rug", "a copied mug"],
    "local": ["a memorized poster", "a memorized rug", "a memorized mug"],
    "none": ["a red city", "a blue forest", "a red mug"],
}
MASKS = {"global": None, "local": LEFT, "none": None}


@pytest.fixture
def testbed(tmp_path: Path, analytic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The analytic bundle in place of the embedded one; the first prompt of each kind belongs to calibration."""
    rows = [
        {"id": f"{kind}-{n}", "prompt": prompt, "kind": kind, "split": "heldout" if n else "calibration"}
        for kind, prompts in PROMPTS.items()
        for n, prompt in enumerate(prompts)
    ]
    pq.write_table(pa.Table.from_pylist([{**row, "seed": [11, 12, 13]} for row in rows]), tmp_path / "manifest.parquet")
    write_ground_truth(tmp_path / "truth.parquet", [{**row, "mask": MASKS[row["kind"]]} for row in rows])
    monkeypatch.setattr(embedded, "BUNDLE", analytic)
    monkeypatch.setattr(embedded, "MANIFEST", tmp_path / "manifest.parquet")
    monkeypatch.setattr(embedded, "GROUND_TRUTH", tmp_path / "truth.parquet")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("testbed")
def test_demo_scans_evaluates_and_draws(capsys: Any) -> None:
    """The analytic model truly collapses where the ground truth says so: every mask of the scan is perfect."""
    assert invoke(["demo"]) == 0
    out, err = capsys.readouterr()
    assert "memscan: scanning 12 images of 6 prompts with the embedded toy model\n" in err
    assert out.startswith("step 7, timestep 201\nfixed protocol")  # the bundle's first default timestep
    assert "Written to memscan-demo:\n" in out
    folder = Path("memscan-demo")
    prompts = pq.read_table(folder / "prompts.parquet").to_pylist()
    assert [row["prompt"] for row in prompts] == [prompt for kind in PROMPTS.values() for prompt in kind[1:]]
    assert all(row["seed"] == [11, 12] for row in prompts)
    records = json.loads((folder / "figures.json").read_text())["localization"]
    assert {record["step"] for record in records} == {7, 8, 9}
    masks = [record for record in records if (record["map"], record["protocol"]) == ("dh_uncond", "fixed")]
    assert len(masks) == 3 * 4
    assert all(record["accuracy"] == 1.0 for record in masks)
    assert all(record["auc"] == 1.0 for record in masks if record["kind"] != "none")
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.width > 128 * 8  # ground truth, generated image, five heat maps, mask
    assert len(list((folder / "images" / "00000").iterdir())) == 12


@pytest.mark.usefixtures("testbed")
def test_demo_again_finds_its_work_done(capsys: Any) -> None:
    assert invoke(["demo", "--out", "there"]) == 0
    before = {file: file.stat().st_mtime_ns for file in Path("there/results").iterdir()}
    first = capsys.readouterr().out
    assert invoke(["demo", "--out", "there"]) == 0
    assert capsys.readouterr().out == first
    assert {file: file.stat().st_mtime_ns for file in Path("there/results").iterdir()} == before
