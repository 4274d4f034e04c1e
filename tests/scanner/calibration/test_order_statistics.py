"""Thresholds at a rate: the definition transcribed, the binomial against scipy, and coverage by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from memscan.scanner.calibration.order_statistics import binomial_interval, limit, needed


def conformal(values: np.ndarray, t: float) -> float:
    """p(t), literally: the mean over the prompts of the share of values at least t, and one for the new prompt."""
    return (1 + sum(np.mean(row >= t) for row in values)) / (len(values) + 1)


@pytest.mark.parametrize(("shape", "rate"), [((99, 1), 0.01), ((300, 1), 0.01), ((40, 5), 0.1), ((19, 64), 0.05)])
def test_threshold_is_the_least_whose_p_value_is_the_rate(shape: tuple[int, int], rate: float) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = limit(values, rate).threshold
    assert conformal(values, found) <= rate + 1e-12
    below = max(value for value in values.ravel() if value < found)
    assert conformal(values, below) > rate
    assert found == np.nextafter(below, np.float32(np.inf))


def test_equal_values_are_on_one_side_of_the_threshold() -> None:
    values = np.array([0.0] * 90 + [1.0] * 10, np.float32)[:, None]
    assert limit(values, 0.05).threshold == np.nextafter(np.float32(1), np.float32(2))
    assert 0 < limit(values, 0.2).threshold < 1e-40


def test_rounded_values_count_as_not_above_what_they_were_rounded_to() -> None:
    values = np.ones((20, 1), np.float16)
    found = limit(values, 0.1).threshold
    assert np.float16(np.nextafter(np.float32(found), np.float32(0))) == 1
    assert np.float16(np.nextafter(np.float32(found), np.float32(2))) > 1


@pytest.mark.parametrize(("rate", "count"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.001, 999), (0.03, 33)])
def test_a_rate_needs_so_many_prompts(rate: float, count: int) -> None:
    assert needed(rate) == count
    limit(np.arange(count, dtype=np.float32)[:, None], rate)
    with pytest.raises(ValueError, match=f"{count} are needed"):
        limit(np.arange(count - 1, dtype=np.float32)[:, None], rate)


@pytest.mark.parametrize(("prompts", "rate"), [(99, 0.01), (300, 0.01), (1000, 0.05)])
def test_interval_of_the_rate_is_that_of_the_order_statistic(prompts: int, rate: float) -> None:
    found = limit(np.arange(prompts, dtype=np.float32)[:, None], rate)
    allowed = math.floor(rate * (prompts + 1) - 1 + 1e-9)
    exact = stats.beta.ppf([0.025, 0.975], allowed + 1, prompts - allowed)
    assert [found.rate_low, found.rate_high] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("count", "trials"), [(0, 20), (1, 20), (20, 20), (7, 300)])
def test_binomial_interval_is_that_of_clopper_and_pearson(count: int, trials: int) -> None:
    exact = stats.binomtest(count, trials).proportion_ci(method="exact")
    assert binomial_interval(count, trials) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_coverage_of_thresholds_and_rates() -> None:
    """2000 calibrations on exponential scores: the mean rate, and how often each interval holds the truth."""
    rng = np.random.default_rng(1)
    rate, truth = 0.05, -math.log(0.05)
    rates, bounded, held = [], 0, 0
    for _ in range(2000):
        found = limit(rng.exponential(size=(200, 1)).astype(np.float32), rate)
        its = math.exp(-found.threshold)
        rates.append(its)
        held += found.rate_low <= its <= found.rate_high
        bounded += (found.low or 0) <= truth <= (math.inf if found.high is None else found.high)
    expected = 10 / 201  # allowed: floor(0.05 * 201 - 1) = 9 above the threshold
    assert np.mean(rates) == pytest.approx(expected, abs=4 * np.std(rates) / math.sqrt(2000))
    assert held / 2000 == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 2000))
    assert bounded / 2000 >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_rate_holds_for_values_that_stand_and_fall_together() -> None:
    """Cells of an image are alike: the mean share of a new image's cells above the threshold stays under the rate."""
    rng = np.random.default_rng(2)
    shares = []
    for _ in range(400):
        level = rng.normal(size=(61, 1))
        cells = (level + 0.3 * rng.normal(size=(61, 16))).astype(np.float32)
        shares.append(np.mean(cells[-1] >= limit(cells[:-1], 0.1).threshold))
    assert np.mean(shares) <= 0.1 + 4 * np.std(shares) / math.sqrt(400)
