"""The two Gaussians of the first experiment against their closed forms, and the estimator's known error."""

import numpy as np
import pytest

from benchmarks.paper import linear_gaussian
from benchmarks.paper.linear_gaussian import (
    LATENT,
    NOISE,
    collapse,
    concentrated,
    estimated,
    predicted_error,
    relative_error,
    spread,
)
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.settings import Probes

LEVEL = Level(101, 0.8, 0.6)
FIXED = LEVEL.sigma**2 / (LEVEL.alpha**2 * NOISE**2 + LEVEL.sigma**2)
FREE = LEVEL.sigma**2 / (LEVEL.alpha**2 * (1 + NOISE**2) + LEVEL.sigma**2)


def test_both_have_the_same_rank_norm_and_spectrum() -> None:
    a, b = concentrated(), spread()
    assert np.linalg.matrix_rank(a.factor) == np.linalg.matrix_rank(b.factor) == np.prod(LATENT) // 2
    np.testing.assert_allclose(np.linalg.norm(a.factor), np.linalg.norm(b.factor), rtol=1e-12)
    spectra = (np.linalg.eigvalsh(model.jacobian(LEVEL)) for model in (a, b))
    np.testing.assert_allclose(*spectra, rtol=1e-9)


def test_concentrated_collapses_the_fixed_half_only() -> None:
    h = collapse(concentrated().jacobian(LEVEL), LEVEL)
    np.testing.assert_allclose(h[..., :4], FREE, rtol=1e-12)
    np.testing.assert_allclose(h[..., 4:], FIXED, rtol=1e-12)


def test_spread_has_the_mean_of_both_everywhere() -> None:
    np.testing.assert_allclose(collapse(spread().jacobian(LEVEL), LEVEL), (FREE + FIXED) / 2, rtol=1e-9)


@pytest.mark.parametrize("probes", [Probes("rademacher", 1, 3), Probes("hadamard", 16, 3)], ids=str)
def test_the_estimate_of_a_diagonal_jacobian_is_exact(probes: Probes) -> None:
    jacobian = concentrated().jacobian(LEVEL)
    # float32 products and sums of at most 16 terms
    np.testing.assert_allclose(estimated(jacobian, LEVEL, probes), collapse(jacobian, LEVEL), rtol=2e-6)


def test_the_error_of_random_signs_is_the_closed_form() -> None:
    jacobian = spread().jacobian(LEVEL)
    # 20 draws of 256 coordinates: the error itself is known to 1 / sqrt(2 * 20 * 256) = 1%, if they were independent
    assert relative_error(jacobian, LEVEL, "rademacher", 4) == pytest.approx(
        predicted_error(jacobian, LEVEL, 4), rel=0.05
    )


def test_64_hadamard_probes_beat_as_many_random_ones() -> None:
    jacobian = spread().jacobian(LEVEL)
    assert relative_error(jacobian, LEVEL, "hadamard", 64) < 0.95 * predicted_error(jacobian, LEVEL, 64)


def test_probes_come_in_groups_as_in_a_scan() -> None:
    assert linear_gaussian.GROUP == 8
    jacobian = spread().jacobian(LEVEL)
    one = estimated(jacobian, LEVEL, Probes("rademacher", 5, 0))  # filled up to 8, divided by 5
    assert abs(one.mean() - collapse(jacobian, LEVEL).mean()) < 0.1
