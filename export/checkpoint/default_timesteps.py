"""The sampler and timesteps that a bundle recommends: those of its schedule, whatever the checkpoint's spacing."""

import dataclasses

from memscan.scanner.bundle_parts import Defaults
from memscan.scanner.sampling.samplers import DEFAULT_STEPS, sampler_timesteps, samplers_for
from memscan.scanner.sampling.schedule import noise_level
from memscan.scanner.schedules import EdmSchedule, Schedule

_LEAST_NOISE = 0.02
"""sigma; Stable Diffusion's first training timestep has 0.029."""


def at_own_timesteps(defaults: Defaults, schedule: Schedule) -> Defaults:
    """The defaults with each timestep replaced by the nearest that their sampler takes; the same if it takes it.

    The last of 50 steps is timestep 1 where steps are spaced as Stable Diffusion's are, and 19 with trailing spacing.
    A sampler that does not suit the schedule gives way to the usual one. Pure noise is never recommended, nor are EDM's
    last steps, which have less noise than there is in any other schedule.
    """
    if defaults.sampler not in samplers_for(schedule):
        usual = samplers_for(schedule)[0]
        defaults = dataclasses.replace(defaults, sampler=usual, num_inference_steps=DEFAULT_STEPS[usual])
    taken = sampler_timesteps(schedule, defaults.sampler, defaults.num_inference_steps)
    least = _LEAST_NOISE if isinstance(schedule, EdmSchedule) else 0.0
    levels = {timestep: noise_level(schedule, timestep) for timestep in taken}
    own = [each for each, level in levels.items() if level.alpha > 0 and level.sigma >= least] or [1]
    nearest = (min(own, key=lambda other: abs(other - timestep)) for timestep in defaults.timesteps)
    return dataclasses.replace(defaults, timesteps=tuple(dict.fromkeys(nearest)))
