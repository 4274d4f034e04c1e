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
