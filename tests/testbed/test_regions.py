"""Means by region and calibrated thresholds from fabricated maps, whose values in each region are known."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from memscan.scanner.metrics.catalogue import MAPS
from memscan.scanner.results.reader import Results, open_results
from testbed.captions import Caption, of_kind
from testbed.cells import cover
from testbed.dataset import masks
from testbed.regions import region_means
from testbed.thresholds import thresholds_of
from tests.scanner.results.fabricated import scanned, write_results

SHAPE = (16, 16)
# h in the memorized, free and intrinsic region, for the conditional, unconditional and less-trained denoiser
CONDITIONAL, UNCONDITIONAL, LESS_TRAINED = (0.9, 0.3, 0.9), (0.35, 0.3, 0.9), (0.4, 0.2, 0.7)
SHOWN = [of_kind("global")[0], of_kind("local")[1], of_kind("none")[0]]


def by_region(caption: Caption, values: tuple[float, float, float]) -> NDArray[np.float32]:
    regions = masks(caption)
    covers = (cover(mask, SHAPE) for mask in (regions.memorized, regions.free, regions.intrinsic))
    return sum((value * part for value, part in zip(values, covers, strict=True)), np.zeros(SHAPE)).astype(np.float32)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    items = []
    for row, caption in enumerate(SHOWN):
        cond, uncond, base = (by_region(caption, h) for h in (CONDITIONAL, UNCONDITIONAL, LESS_TRAINED))
        maps = dict.fromkeys(MAPS, cond) | {"dh_uncond": cond - uncond, "dh_base": cond - base}
        items += [scanned(row, caption.prompt, maps, seed=seed) for seed in (1, 2)]
    return open_results(write_results(tmp_path / "out", items))


def test_means_are_those_put_in(results: Results) -> None:
    means = {(row.kind, row.region): row[3:] for row in region_means(results)}
    assert set(means) == {
        ("global", "memorized"),
        *(("local", region) for region in ("memorized", "free", "intrinsic")),
        *(("none", region) for region in ("free", "intrinsic")),
    }
    for (_, region), found in means.items():
        index = ("memorized", "free", "intrinsic").index(region)
        expected = (CONDITIONAL[index], UNCONDITIONAL[index], LESS_TRAINED[index])
        assert found == pytest.approx(expected, abs=1e-3)  # maps are stored in float16


def test_threshold_separates_memorized_cells(results: Results) -> None:
    found = thresholds_of(results)
    assert set(found) == {(name, 1) for name in MAPS}
    assert 0.2 < found["dh_uncond", 1].threshold < 0.55
    # Cells cut by the outline are half right at best: that is all that keeps a perfect map from an IoU of 1.
    assert found["dh_uncond", 1].iou > 0.97
    assert found["h_cond", 1].iou < 0.9  # fooled by the intrinsic region
