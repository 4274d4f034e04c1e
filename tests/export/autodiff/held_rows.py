"""Normalizations whose statistics have no tangent, as a cut has them, and the same functions in torch."""

import numpy as np
from torch import Tensor

from tests.export.autodiff.rule_row import Row, constant, floats


def _held(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """x normalized over `axes`, by statistics that have no tangent."""
    mean, variance = x.mean(axes, keepdim=True).detach(), x.var(axes, correction=0, keepdim=True).detach()
    return (x - mean) / (variance + eps).sqrt()


def _held_rms(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """x divided by a root mean square over `axes` that has no tangent."""
    return x / ((x * x).mean(axes, keepdim=True).detach() + eps).sqrt()


def _by_channel(vector: np.ndarray, x: Tensor) -> Tensor:
    return constant(vector).view(-1, *[1] * (x.ndim - 2))


def _held_group_norm(x: Tensor, groups: int, shift: np.ndarray, eps: float) -> Tensor:
    normalized = _held(x.unflatten(1, (groups, -1)), tuple(range(2, x.ndim + 1)), eps).reshape(x.shape)
    return normalized * _by_channel(floats(4), x) + _by_channel(shift, x)


def _held_instance_norm(x: Tensor, shift: np.ndarray, eps: float) -> Tensor:
    return _held(x, tuple(range(2, x.ndim)), eps) * _by_channel(floats(3), x) + _by_channel(shift, x)


HELD = [
    Row(
        "memscan.cut::LayerNormalization",
        ((2, 3, 5), floats(5), floats(5) + 1),
        lambda x: _held(x, (-1,), 0.1) * constant(floats(5)) + constant(floats(5) + 1),
        {"epsilon": 0.1},
        batch=True,
    ),
    Row(
        "memscan.cut::LayerNormalization",
        ((2, 3, 5), floats(3, 5)),
        lambda x: _held(x, (1, 2), 1e-5) * constant(floats(3, 5)),
        {"axis": 1},
        batch=True,
        note="two-axes-no-shift",
    ),
    Row(
        "memscan.cut::GroupNormalization",
        ((2, 4, 3, 3), floats(4), floats(4) + 1),
        lambda x: _held_group_norm(x, 2, floats(4) + 1, 0.1),
        {"num_groups": 2, "epsilon": 0.1, "stash_type": 11},
        batch=True,
    ),
    Row(
        "memscan.cut::GroupNormalization",
        ((2, 4, 3), floats(4), floats(4)),
        lambda x: _held_group_norm(x, 2, floats(4), 1e-5),
        {"num_groups": 2, "stash_type": 11},
        note="default-epsilon",
    ),
    Row(
        "memscan.cut::InstanceNormalization",
        ((2, 3, 4, 4), floats(3), floats(3) + 1),
        lambda x: _held_instance_norm(x, floats(3) + 1, 0.1),
        {"epsilon": 0.1},
        batch=True,
    ),
    Row(
        "memscan.cut::InstanceNormalization",
        ((2, 3, 4), floats(3), floats(3)),
        lambda x: _held_instance_norm(x, floats(3), 1e-5),
        note="default-epsilon",
    ),
    Row(
        "memscan.cut::RMSNormalization",
        ((2, 3, 5), floats(5)),
        lambda x: _held_rms(x, (-1,), 0.1) * constant(floats(5)),
        {"epsilon": 0.1},
        batch=True,
    ),
    Row(
        "memscan.cut::RMSNormalization",
        ((2, 3, 5), floats(3, 5)),
        lambda x: _held_rms(x, (1, 2), 1e-5) * constant(floats(3, 5)),
        {"axis": 1},
        batch=True,
        note="two-axes",
    ),
]
