"""The closed form of attention with tangents against torch's own attention and forward mode, in float64."""

import pytest
import torch
from torch import Tensor

from memscan.kernels.jvp_attention import jvp_attention, reference

TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}
"""float64 sums of under a hundred terms."""

N, H, K = 2, 3, 2


def _inputs(queries: int, keys: int, size: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(queries + keys + size)
    lengths = (queries, keys, keys)
    primals = [torch.randn(N, H, length, size, dtype=torch.float64, generator=generator) for length in lengths]
    tangents = [torch.randn(K, *primal.shape, dtype=torch.float64, generator=generator) for primal in primals]
    return (*primals, *tangents)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1) @ v


@pytest.mark.parametrize(("queries", "keys", "size"), [(5, 5, 8), (7, 3, 5), (4, 77, 40)], ids=str)
@pytest.mark.parametrize("present", ["qkv", "q", "k", "v", "qk", "qv", "kv"])
def test_jvp_attention_equals_torch_forward_mode(queries: int, keys: int, size: int, present: str) -> None:
    *primals, q_dot, k_dot, v_dot = _inputs(queries, keys, size)
    dots = [dot if name in present else None for name, dot in zip("qkv", (q_dot, k_dot, v_dot), strict=True)]
    y, y_dot = jvp_attention(*primals, *dots)
    assert y_dot is not None
    for index in range(K):
        tangents = tuple(
            torch.zeros_like(primal) if dot is None else dot[index] for primal, dot in zip(primals, dots, strict=True)
        )
        expected, expected_dot = torch.func.jvp(_attention, tuple(primals), tangents)
        torch.testing.assert_close(y, expected, **TOLERANCE)
        torch.testing.assert_close(y_dot[index], expected_dot, **TOLERANCE)


def test_jvp_attention_equals_torch_attention_at_another_scale() -> None:
    q, k, v, *_ = _inputs(6, 9, 8)
    y, y_dot = reference.jvp_attention(q, k, v, scale=0.2)
    assert y_dot is None
    torch.testing.assert_close(y, torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=0.2), **TOLERANCE)


def test_without_tangents_attention_is_torchs_own() -> None:
    q, k, v, *_ = _inputs(6, 9, 8)
    y, y_dot = jvp_attention(q, k, v, scale=0.2)
    assert y_dot is None
    assert torch.equal(y, torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=0.2))
