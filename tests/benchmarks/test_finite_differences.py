"""Finite differences and the derivatives they are compared with, on functions whose derivatives are known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.call_memory import call_memory
from benchmarks.derivative_truth import reverse_mode
from benchmarks.finite_differences import METHODS, States, best_steps, central, forward_mode, one_sided, relative_error

EXACT = {"rtol": 1e-10, "atol": 1e-12}
"""float64: nothing is approximated where the formula has no error of truncation."""
H = 0.25


def _probes(count: int, *shape: int) -> Tensor:
    return torch.randint(0, 2, (count, *shape), generator=torch.Generator().manual_seed(1)).double() * 2 - 1


def _sample(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_one_sided_differences_of_a_square_are_off_by_the_step() -> None:
    """v * ((x + h v)^2 - x^2) / h = 2 x v^2 + h v^3."""
    x, probes = _sample(2, 1, 2, 3), _probes(3, 2, 1, 2, 3)
    torch.testing.assert_close(one_sided(torch.square, x, probes, H), 6 * x + H * probes.sum(0), **EXACT)


def test_central_differences_of_a_cube_are_off_by_the_square_of_the_step() -> None:
    """v * ((x + h v)^3 - (x - h v)^3) / 2h = 3 x^2 v^2 + h^2 v^4."""
    x, probes = _sample(2, 1, 2, 3), _probes(3, 2, 1, 2, 3)
    torch.testing.assert_close(central(lambda y: y**3, x, probes, H), 3 * (3 * x**2 + H**2), **EXACT)


@pytest.mark.parametrize(("name", "samples"), [("one-sided", 3 + 1), ("central", 2 * 3)])
def test_all_passes_are_in_one_batch_image_after_image(name: str, samples: int) -> None:
    x, probes, sizes = _sample(2, 1, 2, 3), _probes(3, 2, 1, 2, 3), []
    weight = _sample(2, 1, 1, 1)

    def eps(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return batch * weight.repeat(len(batch) // 2, 1, 1, 1)

    torch.testing.assert_close(METHODS[name](eps, x, probes, H), 3 * weight.expand_as(x), **EXACT)
    assert sizes == [samples * 2]


def test_the_best_step_is_the_one_with_the_least_error() -> None:
    """Of a square, one-sided differences err by h and central ones by rounding alone, which falls as h grows."""
    x, probes = _sample(2, 1, 2, 3), _probes(1, 2, 1, 2, 3)
    best = best_steps(torch.square, x, probes, 2 * x)
    step, error = best["one-sided"]
    assert step == 0.0001
    assert error == pytest.approx(0.0001 * probes.norm().item() / (2 * x).norm().item())
    assert best["central"][1] < 1e-12


def test_forward_and_reverse_mode_of_a_matrix_and_of_its_transpose() -> None:
    matrix, x, probes = _sample(6, 6), _sample(1, 1, 2, 3), _probes(3, 1, 1, 2, 3)

    def eps(y: Tensor) -> Tensor:
        return (y.flatten(1) @ matrix.T).view_as(y)

    flat = probes.flatten(1)
    expected = (flat * (flat @ matrix.T)).sum(0).view_as(x)
    transposed = (flat * (flat @ matrix)).sum(0).view_as(x)
    torch.testing.assert_close(forward_mode(eps, x, probes), expected, **EXACT)
    torch.testing.assert_close(reverse_mode(eps, x, probes), transposed, **EXACT)


def test_relative_error_is_of_root_mean_squares() -> None:
    assert relative_error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0]).double()) == pytest.approx(0.1)


def test_dh_is_sigma_times_the_mean_difference_of_diagonals() -> None:
    texts = torch.full((1, 2, 3), 5.0), torch.full((1, 2, 3), 2.0)
    states = States({7: _sample(1, 2, 4, 4)}, {7: 0.5}, texts, np.ones((1, 4, 4)))
    probes = _probes(3, 1, 2, 4, 4)

    def diagonal(timestep: int, text: Tensor, probes: Tensor) -> Tensor:
        return torch.full_like(probes[0], timestep * len(probes) * text.mean())

    torch.testing.assert_close(states.dh(7, probes, diagonal), torch.full((1, 4, 4), 0.5 * 7 * 3.0).double(), **EXACT)


def test_memory_of_a_call_is_what_it_holds_at_most() -> None:
    held = 64 * 2**20
    grown = call_memory(lambda: torch.ones(held // 4).sum())
    assert held <= grown < 1.25 * held
    assert call_memory(lambda: None) < held / 16


def test_a_call_that_fails_in_the_child_fails_here(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="a call whose memory was measured failed"):
        call_memory(lambda: 1 / 0)
    assert "ZeroDivisionError" in capfd.readouterr().err
