"""The timesteps at which a calibration looks, where its user names none."""

from memscan.scanner.bundle import Bundle
from memscan.scanner.run.request import Request
from memscan.scanner.sampling.samplers import DEFAULT_STEPS, sampler_timesteps

SHARES = (0.4, 0.3, 0.2, 0.14, 0.1, 0.06, 0.02, 0.0)
"""Of the training timesteps: where pictures have their form, down to the last step."""


def own_timesteps(bundle: Bundle, request: Request) -> tuple[int, ...]:
    """The sampler's own timesteps, descending, with the request's settings or the bundle's defaults.

    Raises:
        UsageError: a number of steps that the schedule cannot be divided into.
    """
    sampler = request.sampler or bundle.defaults.sampler
    usual = bundle.defaults.num_inference_steps if sampler == bundle.defaults.sampler else DEFAULT_STEPS[sampler]
    return sampler_timesteps(bundle.schedule, sampler, request.num_inference_steps or usual)


def grid(bundle: Bundle, request: Request) -> tuple[int, ...]:
    """The sampler's own timesteps nearest to `SHARES` and to the bundle's defaults: no step has to move, descending.

    Raises:
        UsageError: as `own_timesteps`.
    """
    own = own_timesteps(bundle, request)
    wanted = [*(round(share * bundle.schedule.num_train_timesteps) for share in SHARES), *bundle.defaults.timesteps]
    return tuple(sorted({min(own, key=lambda one: abs(one - timestep)) for timestep in wanted}, reverse=True))
