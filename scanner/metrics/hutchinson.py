"""Hutchinson's estimate of diag(J), the mean of v * (J v) over fixed probes v, whatever computes the products."""

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
