"""The timesteps that a bundle recommends: some that its sampler takes, whatever the checkpoint's spacing."""

import dataclasses

from memscan.scanner.bundle import Defaults, Schedule
from memscan.scanner.sampling.samplers import sampler_timesteps


def at_own_timesteps(defaults: Defaults, schedule: Schedule) -> Defaults:
    """The defaults with each timestep replaced by the nearest that their sampler takes; the same if it takes it.

    The last of 50 steps is timestep 1 where steps are spaced as Stable Diffusion's are, and 19 with trailing spacing.
    """
    own = sampler_timesteps(schedule, defaults.sampler, defaults.num_inference_steps)
    nearest = (min(own, key=lambda other: abs(other - timestep)) for timestep in defaults.timesteps)
    return dataclasses.replace(defaults, timesteps=tuple(dict.fromkeys(nearest)))
