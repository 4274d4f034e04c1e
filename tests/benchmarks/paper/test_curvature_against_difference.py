"""The separation of regions, on maps that were made of the regions themselves."""

import numpy as np
import pytest

from benchmarks.paper.curvature_against_difference import separation
from testbed.captions import of_kind
from testbed.cells import cover
from testbed.dataset import masks

LOCAL = list(of_kind("local")[:4])


def maps_of(*regions: str) -> np.ndarray:
    """1 on the named regions, by the share of each latent cell."""
    return np.stack([sum(cover(getattr(masks(c), region), (16, 16)) for region in regions) for c in LOCAL])


@pytest.mark.parametrize("other", ["intrinsic", "free"])
def test_the_memorized_region_is_told_from_any_other(other: str) -> None:
    assert separation(maps_of("memorized"), LOCAL, other).auc == 1.0


def test_a_map_of_all_that_collapses_cannot_tell_memorized_from_intrinsic() -> None:
    collapsed = maps_of("memorized", "intrinsic")
    assert separation(collapsed, LOCAL, "intrinsic").auc == 0.5
    assert separation(collapsed, LOCAL, "free").auc == 1.0


def test_intervals_are_over_captions() -> None:
    maps = maps_of("memorized")
    maps[0] = 1 - maps[0]  # one caption of four is wrong throughout
    found = separation(maps, LOCAL, "free")
    assert found.interval is not None
    low, high = found.interval
    assert low < found.auc < high


def test_a_region_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="intrinsic"):
        separation(np.zeros((1, 16, 16)), [of_kind("global")[0]], "intrinsic")
