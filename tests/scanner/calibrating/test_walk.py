"""The walk of a user with a model of their own: a bundle that knows no threshold, calibrated, scanned and evaluated.

The stand-in for a fresh export is the embedded bundle without its calibrations, on a tenth of the usual prompts and ten
steps: at the paper's last step and a threshold of 0.5 none of these images is found.
"""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memscan.scanner import embedded
from memscan.scanner.calibration.prompts import everyday_prompts
from memscan.scanner.cli import invoke
from memscan.scanner.evaluation.evaluate import evaluate
from memscan.scanner.evaluation.ground_truth import TESTBED, read_ground_truth
from memscan.scanner.results.reader import open_results


def test_partly_memorized_images_are_found_by_what_clean_prompts_say(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(embedded.BUNDLE, bundle)
    record = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(record | {"calibrations": []}))
    (tmp_path / "clean.txt").write_text("\n".join(everyday_prompts()[::15]))
    command = ["calibrate", str(bundle), "--clean", str(tmp_path / "clean.txt"), "--rate", "0.1", "--threads", "1"]
    settings = ["--sampler", "dpmsolver++", "--num-inference-steps", "10", "--metrics", "dh_uncond,h_cond"]
    assert invoke([*command, *settings]) == 0

    captions = pq.read_table(embedded.MANIFEST).to_pylist()
    rows = [one for one in captions if one["split"] == "heldout" and one["kind"] in ("local", "none")]
    pq.write_table(pa.Table.from_pylist([one | {"seed": one["seed"][:1]} for one in rows]), tmp_path / "m.parquet")
    out = tmp_path / "out"
    run = ["run", str(tmp_path / "m.parquet"), "--model", str(bundle), "--out", str(out), "--carry", "kind"]
    assert invoke([*run, "--metrics", "dh_uncond", "--threads", "1"]) == 0

    results = open_results(out)
    found = results.rows(["row", "seed", "step_index", "kind", "p_value", "mask_share", "calibrated"]).to_pylist()
    local, none = ([one for one in found if one["kind"] == kind] for kind in ("local", "none"))
    assert len(local) == 8
    least = 1 / (len(everyday_prompts()[::15]) + 1)
    assert {one["p_value"] for one in local} == {least}
    assert all(one["mask_share"] > 0.1 and one["calibrated"] for one in local)
    assert min(one["p_value"] for one in none) > least
    assert sum(one["mask_share"] for one in none) / len(none) <= 0.1
    fixed = [one for one in evaluate(results, read_ground_truth(TESTBED)).records if one.protocol == "fixed"]
    (of_local,) = [one for one in fixed if (one.kind, one.map) == ("local", "dh_uncond")]
    assert of_local.iou is not None
    assert of_local.iou > 0.7  # with 31 clean prompts 0.87; the best of all thresholds gives 0.92
