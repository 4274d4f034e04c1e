"""Summaries of maps."""

import numpy as np
import pytest

from memscan.scanner.results.masks import QUANTILES, summarize


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 1), (8, 8), (1, 101), (10, 10), (16, 16), (64, 64)])
def test_quantiles_are_bit_for_bit_those_of_numpy(size: tuple[int, int]) -> None:
    maps = np.abs(np.random.default_rng(0).standard_normal((20, *size))).astype(np.float32)
    maps[3, 0, 0], maps[4], maps[5], maps[6] = np.nan, 0.25, maps[5] * 1e30, maps[6] * 1e-30
    expected = np.quantile(maps.reshape(20, -1), QUANTILES, axis=-1)
    found = summarize(maps)
    np.testing.assert_array_equal(np.float32([found.q90, found.q99]), np.float32(expected))
    assert np.isnan(found.q90[3])
