"""The curve and the three published rules of a rate, each against a literal transcription by counting."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from memscan.scanner.evaluation.detection import detection
from memscan.scanner.evaluation.overlap import percentile_interval, resampled
from memscan.scanner.evaluation.roc import curve, needed, resampled_below

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]


def points(scores: Scores, memorized: Labels) -> list[tuple[float, float]]:
    """FPR and TPR at every threshold, counted one by one."""
    found = [(0.0, 0.0)]
    for threshold in sorted(set(scores.tolist()), reverse=True):
        reached = scores >= threshold
        alarms, hits = (reached & ~memorized).sum(), (reached & memorized).sum()
        found.append((alarms / (~memorized).sum(), hits / memorized.sum()))
    return found


def last_under(scores: Scores, memorized: Labels, limit: float) -> float:
    return [tpr for fpr, tpr in points(scores, memorized) if fpr < limit][-1]


def first_nearest(scores: Scores, memorized: Labels, limit: float) -> float:
    return min(points(scores, memorized), key=lambda point: abs(point[0] - limit))[1]


def auc_by_trapezoids(scores: Scores, memorized: Labels) -> float:
    curve_points = points(scores, memorized)
    pairs = itertools.pairwise(curve_points)
    return sum((right[0] - left[0]) * (right[1] + left[1]) / 2 for left, right in pairs)


def example(shift: float, ties: bool, seed: int = 0) -> tuple[Scores, Labels]:
    generator = np.random.default_rng(seed)
    memorized = np.arange(450) < 150
    scores = generator.normal(size=450) + shift * memorized
    return (np.round(scores, 1) if ties else scores), memorized


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shift", [1.5, -1.0])
def test_every_rule_is_its_transcription(shift: float, ties: bool) -> None:
    scores, memorized = example(shift, ties)
    found = detection(scores, memorized, np.arange(450))
    assert found is not None
    assert found.auc == pytest.approx(auc_by_trapezoids(scores, memorized), abs=1e-12)
    roc = curve(scores, memorized)
    assert list(zip(roc.fpr.tolist(), roc.tpr.tolist(), strict=True)) == points(scores, memorized)
    one, tenth = found.rates
    assert (one.limit, tenth.limit) == (0.01, 0.001)
    assert one.below == last_under(scores, memorized, 0.01)
    assert one.nearest == first_nearest(scores, memorized, 0.01)
    flipped = memorized if found.auc >= 0.5 else ~memorized
    assert one.flipped == last_under(scores, flipped, 0.01)
    assert (found.auc < 0.5) == (one.flipped != one.below)


def test_the_rules_are_told_apart() -> None:
    """100 others: one false positive is exactly 1%, not under it; the nearest point has it."""
    others = np.arange(100.0)
    scores, memorized = np.concatenate((others, [99.5, 98.5, 50.0])), np.arange(103) >= 100
    found = detection(scores, memorized, np.arange(103))
    assert found is not None
    one = found.rates[0]
    assert one.below == 1 / 3
    assert one.nearest == 1 / 3  # the first point with one false positive; 98.5 is reached at the next
    assert first_nearest(scores, memorized, 0.01) == 1 / 3
    higher = detection(np.concatenate((others, [99.5, 99.0, 50.0])), memorized, np.arange(103))
    assert higher is not None
    assert (higher.rates[0].below, higher.rates[0].nearest) == (1 / 3, 2 / 3)  # tied with the one false positive


def test_the_flipped_rule_praises_a_detector_that_is_wrong() -> None:
    scores, memorized = np.arange(200.0), np.arange(200) < 100
    found = detection(scores, memorized, np.arange(200))
    assert found is not None
    assert (found.auc, found.rates[0].below, found.rates[0].flipped) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(("others", "supported"), [(99, (False, False)), (100, (True, False)), (1000, (True, True))])
def test_a_rate_needs_as_many_captions_as_make_one_false_positive_no_more_than_it(
    others: int, supported: tuple[bool, bool]
) -> None:
    memorized = np.arange(others + 10) < 10
    found = detection(np.arange(others + 10.0), memorized, np.arange(others + 10))
    assert found is not None
    assert tuple(rate.below is not None for rate in found.rates) == supported
    assert [(rate.captions, rate.needed) for rate in found.rates] == [(others, 100), (others, 1000)]


def test_seeds_of_a_caption_do_not_support_a_rate() -> None:
    """400 images of 50 captions are 50 independent ones."""
    memorized = np.arange(410) < 10
    captions = np.concatenate((np.arange(10), 10 + np.arange(400) % 50))
    found = detection(np.arange(410.0), memorized, captions)
    assert found is not None
    assert found.rates[0].below is None


def test_corners_are_the_same_curve() -> None:
    scores, memorized = example(1.0, True)
    whole, few = curve(scores, memorized), curve(scores, memorized).corners()
    assert len(few.fpr) < len(whole.fpr)
    area = [np.sum(np.diff(one.fpr) * (one.tpr[1:] + one.tpr[:-1]) / 2) for one in (whole, few)]
    assert area[0] == pytest.approx(area[1], abs=1e-12)
    assert (few.fpr[0], few.tpr[0], few.fpr[-1], few.tpr[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert curve(np.array([2.0, 1.0]), np.array([True, False])).corners().tpr.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("ties", [False, True])
def test_a_replicate_is_the_rule_on_the_images_that_were_drawn(ties: bool) -> None:
    scores, memorized = example(1.5, ties)
    weights = np.random.default_rng(1).integers(0, 3, (20, 450)).astype(np.float64)
    expected = []
    for row in weights.astype(int):
        drawn = np.repeat(np.arange(450), row)
        expected.append(last_under(scores[drawn], memorized[drawn], 0.01))
    order = np.argsort(-scores)
    found = resampled_below(scores[order], memorized[order], weights[:, order], 0.01)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_interval_of_a_rate_resamples_captions() -> None:
    scores, memorized = example(1.5, False)
    captions = np.where(memorized, np.arange(450) // 3, np.arange(450))
    found = detection(scores, memorized, captions)
    assert found is not None
    generator = np.random.default_rng(0)
    drawn, others = resampled(50, generator), resampled(300, generator)
    weights = np.concatenate((np.repeat(drawn, 3, axis=1), others), axis=1)
    order = np.argsort(-scores)
    expected = percentile_interval(resampled_below(scores[order], memorized[order], weights[:, order], 0.01))
    assert (found.rates[0].low, found.rates[0].high) == expected
    assert found.interval is not None and found.replicates is not None
    each = [
        auc_by_trapezoids(scores[np.repeat(np.arange(450), row)], memorized[np.repeat(np.arange(450), row)])
        for row in weights[:10].astype(int)
    ]
    np.testing.assert_allclose(found.replicates.auc[:10], each, rtol=1e-12)


def test_what_a_limit_needs() -> None:
    assert [needed(limit) for limit in (0.05, 0.01, 0.001)] == [20, 100, 1000]
