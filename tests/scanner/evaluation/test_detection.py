"""Detection AUC against counting pairs one by one, and its interval."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from memscan.scanner.evaluation.detection import detection


def test_auc_equals_counting_pairs_with_ties_as_one_half() -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 6, 60).astype(np.float32)  # many ties
    memorized = generator.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[memorized] for b in scores[~memorized]]
    found = detection(scores, memorized, np.arange(60))
    assert found is not None
    assert found.auc == pytest.approx(np.mean(pairs), abs=1e-12)
    statistic = mannwhitneyu(scores[memorized], scores[~memorized]).statistic
    assert found.auc == pytest.approx(statistic / len(pairs), abs=1e-12)


def test_auc_does_not_apply_with_one_side_only() -> None:
    scores, captions = np.arange(3.0), np.arange(3)
    assert detection(scores, np.ones(3, dtype=bool), captions) is None
    assert detection(scores, np.zeros(3, dtype=bool), captions) is None


def test_interval_needs_two_captions_on_both_sides() -> None:
    found = detection(np.arange(4.0), np.array([True, True, False, False]), np.array([0, 0, 1, 2]))
    assert found is not None
    assert (found.auc, found.interval) == (0.0, None)


def test_interval_resamples_captions_and_not_images() -> None:
    """One of two memorized captions is found by all of its seeds, the other by none: 0 and 1 are possible."""
    scores = np.array([3.0] * 20 + [1.0] * 20 + [2.0] * 20)
    captions = np.repeat([0, 1, 2, 3], [20, 20, 10, 10])
    found = detection(scores, scores != 2.0, captions)
    assert found is not None
    assert (found.auc, found.interval) == (0.5, (0.0, 1.0))


def test_replicates_weigh_captions_by_their_images() -> None:
    """With as many captions as images, the interval is that of the plain bootstrap, drawn here one by one."""
    generator = np.random.default_rng(1)
    positive, negative = generator.normal(0.8, 1, 40), generator.normal(0, 1, 40)
    found = detection(np.concatenate([positive, negative]), np.arange(80) < 40, np.arange(80))
    assert found is not None and found.interval is not None
    draws = []
    for _ in range(2000):
        a, b = generator.choice(positive, 40), generator.choice(negative, 40)
        draws.append((a[:, None] > b).mean())
    # the 2.5% quantile of 2000 replicates of standard deviation 0.055 has a standard error of 0.003; two of them differ
    assert found.interval == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.015)


UNEVEN = np.repeat(np.arange(8), [20, 1, 1, 1, 1, 1, 1, 1])
"""The captions of 27 images: one with 20 seeds, seven with one each."""


@pytest.mark.parametrize("uneven_side", ["memorized", "others"])
def test_interval_of_captions_with_uneven_numbers_of_seeds_is_that_of_their_closed_form(uneven_side: str) -> None:
    """The caption of 20 seeds is right in all of them, the seven others are wrong.

    Drawn k times among 8, it makes the AUC 20 k / (20 k + 8 - k), with k ~ Binomial(8, 1/8): P(k <= 0) = .34,
    P(k <= 2) = .93 and P(k <= 3) = .99, so the interval is that of k = 0 and k = 3. Images drawn one by one would stay
    above .5, captions that weigh the same end at 3/8.
    """
    right = UNEVEN == 0
    uneven, even = np.where(right, 1.0, -1.0), np.zeros(6)
    sign = 1.0 if uneven_side == "memorized" else -1.0
    scores = sign * np.concatenate([uneven, even])
    memorized = (np.arange(33) < 27) == (uneven_side == "memorized")
    found = detection(scores, memorized, np.concatenate([UNEVEN, 8 + np.arange(6)]))
    assert found is not None
    assert found.auc == pytest.approx(20 / 27, abs=1e-12)
    assert found.interval == pytest.approx((0.0, 60 / 65), abs=1e-12)
