"""The forward pass that gives the kernel its probabilities: output and log-sum-exp, by whichever of torch's forms."""

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from memscan.kernels.jvp_attention.forward import attention_forward

TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
"""Of y, near 1: sums of 77 products, and one rounding to the type."""
LSE_TOLERANCE = 1e-4
"""torch's half-precision forms have an approximate exponential on CPUs."""
BACKENDS = {"fused": SDPBackend.FLASH_ATTENTION, "unfused": SDPBackend.MATH}


def _operands(queries: int, keys: int, size: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, tokens, 3, size) for tokens in (queries, keys, keys)]
    return [torch.randn(shape, generator=generator).to(dtype).transpose(1, 2) for shape in shapes]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("queries", "keys", "size"), [(5, 77, 40), (33, 20, 4), (1, 1, 160), (16, 9, 13)], ids=str)
def test_output_and_log_sum_exp_equal_the_formula(
    queries: int, keys: int, size: int, dtype: torch.dtype, backend: str
) -> None:
    q, k, v = _operands(queries, keys, size, dtype)
    with sdpa_kernel(BACKENDS[backend]):
        y, lse = attention_forward(q, k, v, 0.3)
    scores = 0.3 * q.double() @ k.double().mT
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), torch.softmax(scores, -1) @ v.double(), rtol=0, atol=TOLERANCE[dtype])
    torch.testing.assert_close(lse.double(), torch.logsumexp(scores, -1), rtol=0, atol=LSE_TOLERANCE)


@pytest.mark.parametrize("backend", ["EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "FLASH_ATTENTION"])
@pytest.mark.parametrize("queries", [64, 77])
def test_every_form_of_a_gpu_gives_these_shapes(backend: str, queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On tensors without values, by torch's own statement of what each returns; one of them pads 77 queries."""
    monkeypatch.setattr(torch, "_fused_sdp_choice", lambda *_, **__: SDPBackend.__members__[backend].value)
    q, k, v = (x.to("meta") for x in _operands(queries, 20, 13, torch.float16))
    y, lse = attention_forward(q, k, v, 0.3)
    assert (y.shape, y.dtype) == (q.shape, torch.float16)
    assert (lse.shape, lse.dtype) == (q.shape[:3], torch.float32)
