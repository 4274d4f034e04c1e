"""From noise predictions and Jacobian products to the maps: pure functions, the method's formulas.

With J = d eps / d x and the score s = -eps / sigma, the negative Hessian's diagonal is diag(J) / sigma. In the collapse
unit (Kim and Lee's value times sigma^2; 1 = no variance left), channel means:

    h_cond     sigma diag J_c                        dh_uncond  sigma (diag J_c - diag J_0)     (their Eq. 1)
    ds_uncond  (eps_c - eps_0)^2       (Eq. 5)       dh_base    sigma (diag J_c - diag J_base)  (Eq. 2)
    ds_base    (eps_c - eps_base)^2    (Eq. 6)

where c is the prompt, 0 the unconditional prompt, and base the less-trained checkpoint given the prompt.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Group = TypeVar("Group")


class Response(NamedTuple):
    """A denoiser's answer at x_t: eps and the estimate of diag(J), each [N, C, h, w]."""

    eps: Array
    diagonal: Array


def probe_groups(probes: Array, group: int) -> Array:
    """Split probes [K, C, h, w] into [G, group, C, h, w], the last group filled up with zeros, which add nothing."""
    missing = -len(probes) % group
    padded = np.concatenate([probes, np.zeros((missing, *probes.shape[1:]), probes.dtype)])
    return padded.reshape(-1, group, *probes.shape[1:])


def estimate(measure: Callable[[Group], tuple[Array, Array]], groups: Sequence[Group], count: int) -> Response:
    """Hutchinson's estimate of diag(J), (1/K) sum_k v_k * (J v_k), over calls that take a group of probes each.

    Args:
        measure: a group of probes -> eps [N, C, h, w] and the group's sum of v * (J v) [N, C, h, w].
        groups: the groups of `probe_groups`, in any form that `measure` takes.
        count: K, the true number of probes.
    """
    eps, total = measure(groups[0])
    for group in groups[1:]:
        total = total + measure(group)[1]
    return Response(eps, total / np.float32(count))


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
