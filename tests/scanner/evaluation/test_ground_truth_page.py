"""docs/ground-truth.md: its example is run as it stands there, and evaluated."""

import re
from pathlib import Path

import numpy as np
import pytest

from memscan.scanner.evaluation.evaluate import evaluate
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from memscan.scanner.results.reader import open_results
from memscan.scanner.results.rle import MAX_PIXELS
from tests.scanner.results.fabricated import scanned, write_results

KINDS = ["global", "local", "none"]
"""Of the prompts of the example."""

PAGE = (Path(__file__).parents[3] / "docs" / "ground-truth.md").read_text()


def test_the_example_is_read_and_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/ground-truth.md", "exec"), {})
    truth = read_ground_truth("truth.parquet")
    assert [one.kind for one in truth.truths] == KINDS
    upper = np.repeat([True, False], 8)[:, None] & np.ones(16, bool)
    found = dict(zip(KINDS, (upper | True, upper, upper & False), strict=True))
    images = [
        scanned(row, str(one.prompt), {"dh_uncond": 0.75 * found[one.kind].astype(np.float32)})
        for row, one in enumerate(truth.truths)
    ]
    results = write_results(tmp_path / "out", images)
    records = {(one.kind, one.protocol): one for one in evaluate(open_results(results), truth).records}
    assert {kind: records[kind, "fixed"].iou for kind in KINDS} == dict.fromkeys(KINDS, 1.0)
    assert records["all", "fixed"].auc == 1.0


def test_the_bound_that_the_page_gives_is_the_readers() -> None:
    assert f"at most {MAX_PIXELS:,} pixels" in " ".join(PAGE.split())
