"""Conformal p-values: the definition, ties, several images of a prompt, and uniformity where nothing is memorized."""

import numpy as np
import pytest
from scipy import stats

from memscan.scanner.results.p_values import CleanScores


def test_p_value_is_the_rank_among_the_clean_scores() -> None:
    clean = np.sort(np.random.default_rng(0).normal(size=50).astype(np.float32))
    scores = np.concatenate([clean[[0, 10, 49]], np.array([-9, 9, 0.1], np.float32)])
    literal = [(1 + sum(one >= score for one in clean)) / 51 for score in scores]
    assert CleanScores(clean, 50).p_values(scores).tolist() == literal


def test_images_of_a_prompt_count_by_their_mean() -> None:
    clean = np.array([1, 2, 3, 4], np.float32)
    found = CleanScores(clean, 2).p_values(np.array([0, 3, 5], np.float32))
    assert found.tolist() == pytest.approx([1, (1 + 1) / 3, 1 / 3])


def test_uniform_where_nothing_is_memorized() -> None:
    """Over many calibrations, since those of one share its clean scores: uniform on 1/(n + 1), ..., 1."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(2000):
        drawn = rng.gumbel(size=100).astype(np.float32)
        found += CleanScores(np.sort(drawn[:-1]), 99).p_values(drawn[-1:]).tolist()
    jittered = np.array(found) - rng.random(2000) / 100  # a discrete uniform as a continuous one
    assert stats.kstest(jittered, "uniform").pvalue > 0.001
