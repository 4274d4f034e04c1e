"""The identity holds for a true density at every point, in the expectation alone, and says nothing at low noise."""

import pytest
import torch

from benchmarks.paper.fisher_identity import captions_as_gaussians, differences, exact_at, expectations
from memscan.scanner.sampling.schedule import Level

MIXTURE = captions_as_gaussians()
HIGH, LOW = Level(401, 0.65, 0.76), Level(21, 0.99, 0.14)


@pytest.mark.parametrize("level", [HIGH, LOW], ids=["high", "low"])
def test_the_expectations_agree_at_every_coordinate(level: Level) -> None:
    x, _ = MIXTURE.sample(50, level, seed=1)
    left, right = expectations(MIXTURE, x, level)
    torch.testing.assert_close(left, right, rtol=0, atol=1e-13)


def test_one_prompt_alone_does_not_obey_it() -> None:
    x, _ = MIXTURE.sample(50, HIGH, seed=1)
    dh, ds = differences(MIXTURE, x, HIGH)
    assert (dh - ds).abs().max() > 0.1


def test_where_the_noisy_picture_tells_its_caption_nothing_is_left_of_the_difference() -> None:
    found = exact_at(MIXTURE, LOW)
    assert found.posterior > 0.999
    assert abs(found.curvature) < 1e-4
    assert exact_at(MIXTURE, HIGH).curvature > 0.1
