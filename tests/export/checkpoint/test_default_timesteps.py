"""A bundle recommends timesteps that its sampler takes."""

import dataclasses

import pytest

from memscan.export.assemble import PAPER_DEFAULTS
from memscan.export.checkpoint.default_timesteps import at_own_timesteps
from memscan.scanner.sampling.samplers import sampler_timesteps
from memscan.scanner.schedules import DdpmSchedule


@pytest.mark.parametrize(
    ("spacing", "offset", "last"),
    [("leading", 1, 1), ("leading", 0, 0), ("trailing", 1, 19), ("linspace", 0, 0)],
)
def test_the_default_is_the_last_step_whatever_the_spacing(spacing: str, offset: int, last: int) -> None:
    schedule = DdpmSchedule(1000, tuple(1 - (index + 1) / 1001 for index in range(1000)), offset, False, spacing)
    defaults = at_own_timesteps(PAPER_DEFAULTS, schedule)
    assert defaults == dataclasses.replace(PAPER_DEFAULTS, timesteps=(last,))
    assert last == sampler_timesteps(schedule, "ddim", 50)[-1]


def test_several_that_fall_together_are_one() -> None:
    schedule = DdpmSchedule(1000, tuple(1 - (index + 1) / 1001 for index in range(1000)), 1, False, "leading")
    asked = dataclasses.replace(PAPER_DEFAULTS, timesteps=(300, 305, 2, 1))
    assert at_own_timesteps(asked, schedule).timesteps == (301, 1)
