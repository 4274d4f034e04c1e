"""The reference of the update norms' standard score: made of clean prompts, and refused where it cannot be one."""

import numpy as np
import pytest

from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.update_norm import reference_of
from memscan.scanner.sampling.schedule import Level
from memscan.scanner.settings import Reference

NORMS = np.array([[1.0, 10.0], [3.0, 14.0], [5.0, 12.0]])


def test_a_reference_has_mean_and_deviation_of_each_step() -> None:
    reference = reference_of((801, 401), NORMS)
    assert (reference.metric, reference.timesteps) == ("update_z", (801, 401))
    assert reference.mean == pytest.approx((3.0, 12.0))
    assert reference.deviation == pytest.approx((2.0, 2.0))


def test_the_score_is_the_greatest_deviation_over_the_steps_by_their_timesteps() -> None:
    reference = reference_of((801, 401), NORMS)
    over, values = METRICS["update_z"].over, np.array([[3.0, 9.0], [18.0, 12.0]])  # two steps of two images
    levels = [Level(801, 0.5, 0.8), Level(401, 0.8, 0.5)]
    np.testing.assert_allclose(over(values, levels, reference), [3.0, 3.0])
    np.testing.assert_allclose(over(values[:1], levels[:1], reference), [0.0, 3.0])
    backwards = Reference("update_z", (401, 801), reference.mean[::-1], reference.deviation[::-1])
    np.testing.assert_allclose(over(values, levels, backwards), [3.0, 3.0])


def test_what_is_no_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="takes two images at least, not 1"):
        reference_of((801, 401), NORMS[:1])
    with pytest.raises(ValueError, match="update_z has a deviation that is not positive"):
        reference_of((801, 401), NORMS[[0, 0]])
    with pytest.raises(ValueError, match="update_z has not one mean and deviation for each timestep"):
        reference_of((801,), NORMS)
