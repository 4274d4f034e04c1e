"""Correlation and scale against numpy's own, and which derivative they speak for."""

import numpy as np
import pytest

from memscan.export.certificate.agreement import LEAST_CORRELATION, agreement, certified
from memscan.scanner.bundle_parts import Agreement, Certificate
from memscan.scanner.settings import Derivative

SHAPE = (3, 4, 5)


def test_figures_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    exact = rng.normal(0.3, 1, SHAPE)
    found = 0.8 * exact + 0.1 + rng.normal(0, 0.2, SHAPE)
    one = agreement("shallow", "dh_uncond", 201, found, exact)
    assert (one.derivative, one.map, one.timestep) == ("shallow", "dh_uncond", 201)
    assert one.correlation == pytest.approx(np.corrcoef(exact.ravel(), found.ravel())[0, 1], rel=1e-12)
    assert one.scale == pytest.approx(np.polyfit(exact.ravel(), found.ravel(), 1)[0], rel=1e-12)


def test_half_precision_maps_are_summed_in_double() -> None:
    exact = np.full(SHAPE, 1000, np.float16)  # the sum of their squares is beyond float16
    exact[0] = 2000
    one = agreement("frozen", "dh_base", 1, exact, exact)
    assert (one.correlation, one.scale) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("found", "exact", "correlation", "scale"),
    [
        pytest.param(np.zeros(SHAPE), np.arange(60.0).reshape(SHAPE), None, 0.0, id="found-is-constant"),
        pytest.param(np.arange(60.0).reshape(SHAPE), np.ones(SHAPE), None, None, id="exact-is-constant"),
    ],
)
def test_nothing_is_said_of_a_constant_map(
    found: np.ndarray, exact: np.ndarray, correlation: float | None, scale: float | None
) -> None:
    one = agreement("frozen", "dh_uncond", 1, found, exact)
    assert (one.correlation, one.scale) == (correlation, scale)


def _certificate(**correlations: tuple[float | None, ...]) -> Certificate:
    kinds: dict[Derivative, tuple[float | None, ...]] = correlations  # type: ignore[assignment]
    agreements = [
        Agreement(kind, "dh_uncond", timestep, value, 1.0)
        for kind, values in kinds.items()
        for timestep, value in enumerate(values)
    ]
    return Certificate(1, "0" * 64, tuple(agreements))


@pytest.mark.parametrize(
    ("certificate", "expected"),
    [
        pytest.param(_certificate(shallow=(0.995, 0.992), frozen=(0.999, 0.999)), "shallow", id="cheapest-of-two"),
        pytest.param(_certificate(shallow=(0.995, 0.98), frozen=(0.999, 0.999)), "frozen", id="one-timestep-is-enough"),
        pytest.param(_certificate(shallow=(0.98,), frozen=(0.98,)), "exact", id="none-is-good-enough"),
        pytest.param(_certificate(shallow=(None,), frozen=(0.999,)), "frozen", id="undefined-is-not-good"),
        pytest.param(_certificate(shallow=(-0.999,)), "exact", id="the-sign-counts"),
        pytest.param(_certificate(shallow=(LEAST_CORRELATION,)), "shallow", id="the-limit-itself"),
        pytest.param(_certificate(), "exact", id="nothing-was-compared"),
    ],
)
def test_default_is_the_cheapest_that_agrees_everywhere(certificate: Certificate, expected: str) -> None:
    assert certified(certificate) == expected
