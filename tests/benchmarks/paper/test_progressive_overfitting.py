"""The closed forms that training is compared with, and the exact derivative and seeds of the networks that train."""

import pytest
import torch

from benchmarks.paper.point_denoiser import collapse, predict, train
from benchmarks.paper.progressive_overfitting import (
    COPIES,
    LINE,
    MEASURED,
    NOISE,
    OUTLIER,
    POINTS,
    closed_form,
    points,
    population,
    share_near_outlier,
)
from memscan.scanner.sampling.schedule import Level

LEVEL = Level(20, 0.99, 0.14)
CUMPROD = torch.linspace(0.99, 0.01, 50)


@pytest.mark.parametrize(("place", "deviation"), [(LINE, NOISE), (OUTLIER, 0.0)], ids=["line", "outlier"])
def test_far_from_each_other_the_closed_form_is_that_of_the_mixture(
    place: tuple[float, float], deviation: float
) -> None:
    x = LEVEL.alpha * torch.tensor([place], dtype=torch.float64)
    assert population().collapse(x, LEVEL)[0, 0] == pytest.approx(closed_form(LEVEL, deviation), rel=1e-9)


def test_a_line_with_noise_never_collapses_wholly_and_a_point_does() -> None:
    assert closed_form(LEVEL, 0.0) == 1.0
    assert closed_form(LEVEL, NOISE) == pytest.approx(0.14**2 / (0.99**2 * 0.09 + 0.14**2), rel=1e-12)


def test_the_data_are_a_noisy_line_and_one_point_many_times() -> None:
    data = points()
    assert data.shape == (POINTS + COPIES, 2)
    assert (data[POINTS:] == torch.tensor(OUTLIER)).all()
    assert data[:POINTS, 0].std() == pytest.approx(NOISE, rel=4 / (2 * POINTS) ** 0.5)
    assert len(data[:MEASURED].unique(dim=0)) == MEASURED


def test_the_collapse_of_a_network_is_its_derivative() -> None:
    ((_, parameters),) = train(points(), CUMPROD, [3], networks=2)
    parameters = [parameter.double() for parameter in parameters]
    x, step = torch.tensor([[0.3, -0.2], [1.4, 0.1]], dtype=torch.float64), 1e-6
    sigma = torch.full((2,), LEVEL.sigma, dtype=torch.float64)
    shift = torch.tensor([step, 0.0], dtype=torch.float64)
    ends = [predict(parameters, (x + sign * shift).repeat(2, 1, 1), sigma)[..., 0] for sign in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(collapse(parameters, x, LEVEL.sigma), LEVEL.sigma * slope, rtol=1e-6, atol=1e-8)


def test_training_is_seeded_and_its_networks_differ() -> None:
    runs = [dict(train(points(), CUMPROD, [1, 4], networks=2)) for _ in range(2)]
    assert list(runs[0]) == [1, 4]
    for first, second in zip(runs[0][4], runs[1][4], strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not torch.equal(runs[0][4][0][0], runs[0][4][0][1])
    assert not torch.equal(runs[0][1][0], runs[0][4][0])


def test_a_checkpoint_does_not_depend_on_the_checkpoints_before_it() -> None:
    (_, direct), ((_, _), (_, by_the_way)) = next(train(points(), CUMPROD, [4], 1)), train(points(), CUMPROD, [2, 4], 1)
    torch.testing.assert_close(direct[0], by_the_way[0], rtol=0, atol=0)


def test_an_exact_denoiser_of_the_point_samples_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def exact(parameters: list[torch.Tensor], x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        alpha = (1 - sigma[0] ** 2).sqrt()
        return (x - alpha * torch.tensor(OUTLIER)) / sigma[0]

    monkeypatch.setattr("benchmarks.paper.progressive_overfitting.predict", exact)
    levels = [Level(900, 0.1, 0.99**0.5), Level(100, 0.9, 0.19**0.5), Level(0, 1.0, 0.0)]
    assert share_near_outlier([torch.zeros(2, 1)], levels) == 1.0
