"""The mean filter against torch's, and what it leaves as it is."""

import numpy as np
import pytest
import torch

from memscan.scanner.metrics.smoothing import smoothed


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 5, 7), (2, 3, 3)], ids=str)
@pytest.mark.parametrize("side", [1, 3, 5, 13])
def test_smoothing_is_the_mean_of_the_cells_that_exist(side: int, shape: tuple[int, ...]) -> None:
    maps = np.random.default_rng(0).normal(size=shape)
    pooled = torch.nn.functional.avg_pool2d(
        torch.from_numpy(maps), side, stride=1, padding=side // 2, count_include_pad=False
    )
    found = smoothed(maps, side)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, pooled.numpy(), rtol=0, atol=5e-7)  # float32 of values up to 4


def test_one_cell_is_the_map_itself_and_a_constant_stays() -> None:
    maps = np.random.default_rng(1).normal(size=(2, 4, 4)).astype(np.float32)
    assert smoothed(maps, 1) is maps
    np.testing.assert_allclose(smoothed(np.full((1, 6, 6), 0.25), 5), 0.25, rtol=1e-6)


def test_what_is_not_finite_spoils_its_own_image_alone() -> None:
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, 1, 1] = np.nan
    assert np.isnan(smoothed(maps, 3)[0]).any()
    assert (smoothed(maps, 3)[1] == 0).all()
