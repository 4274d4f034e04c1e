"""From noise predictions and Jacobian products to the maps: pure functions, the method's formulas.

With J = d eps / d x and the score s = -eps / sigma, the negative Hessian's diagonal is diag(J) / sigma. In the collapse
unit (Kim and Lee's value times sigma^2; 1 = no variance left), channel means:

    h_cond     sigma diag J_c                        dh_uncond  sigma (diag J_c - diag J_0)     (their Eq. 1)
    ds_uncond  (eps_c - eps_0)^2       (Eq. 5)       dh_base    sigma (diag J_c - diag J_base)  (Eq. 2)
    ds_base    (eps_c - eps_base)^2    (Eq. 6)

where c is the prompt, 0 the unconditional prompt, and base the less-trained checkpoint given the prompt.
"""

import numpy as np

from memscan.scanner.metrics.hutchinson import Array, Response


def collapse_maps(cond: Response, uncond: Response, base: Response | None, sigma: float) -> dict[str, Array]:
    """The maps at noise level `sigma`: name -> [N, h, w], in the collapse unit, channel means.

    `base` None leaves out the maps that need a baseline.
    """
    maps = {
        "dh_uncond": _channel_mean(cond.diagonal - uncond.diagonal) * np.float32(sigma),
        "ds_uncond": _channel_mean(np.square(cond.eps - uncond.eps)),
        "h_cond": _channel_mean(cond.diagonal) * np.float32(sigma),
    }
    if base is not None:
        maps["dh_base"] = _channel_mean(cond.diagonal - base.diagonal) * np.float32(sigma)
        maps["ds_base"] = _channel_mean(np.square(cond.eps - base.eps))
    return maps


def _channel_mean(values: Array) -> Array:
    return values.mean(axis=1)
