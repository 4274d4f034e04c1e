"""What only a GPU can show of attention with tangents: sizes of real UNets, memory, and capture in a CUDA graph."""

import pytest
import torch
from torch import Tensor

from memscan.kernels.jvp_attention import jvp_attention, reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

TOLERANCE = {torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float32: 1e-5}
"""Root of the mean square error over that of the truth: of half types as in the interpreter's tests; of float32, the
three TF32 products that stand for one."""


def _inputs(
    queries: int, keys: int, size: int, count: int, dtype: torch.dtype = torch.float16, heads: int = 2
) -> list[Tensor | None]:
    """Laid out as a UNet's projections leave them, heads beside columns; cross-attention has tangents of q only."""
    generator = torch.Generator("cuda").manual_seed(0)

    def draw(tokens: int, *leading: int) -> Tensor:
        shape = (*leading, 1, tokens, heads, size)
        return torch.randn(shape, dtype=dtype, device="cuda", generator=generator).transpose(-2, -3)

    primals = [draw(queries), draw(keys), draw(keys)]
    if queries == keys:
        return [*primals, draw(queries, count), draw(keys, count), draw(keys, count)]
    return [*primals, draw(queries, count), None, None]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("queries", "keys", "size"),
    [(4096, 4096, 40), (1024, 1024, 80), (256, 256, 160), (1024, 1024, 64), (4096, 77, 40), (256, 77, 160)],
    ids=str,
)
def test_attention_of_a_unet_equals_the_closed_form(queries: int, keys: int, size: int, dtype: torch.dtype) -> None:
    inputs = _inputs(queries, keys, size, 3, dtype)
    results = jvp_attention(*inputs)
    exact = reference.jvp_attention(*[None if x is None else x.double() for x in inputs])
    for name, result, truth in zip(("y", "y_dot"), results, exact, strict=True):
        assert result is not None
        error = (result.double() - truth).square().mean().sqrt() / truth.square().mean().sqrt()
        assert error < TOLERANCE[dtype], f"{name}: {error:.1e}"


def test_memory_does_not_hold_scores() -> None:
    inputs = _inputs(4096, 4096, 40, 8)
    jvp_attention(*inputs)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    jvp_attention(*inputs)
    torch.cuda.synchronize()
    scores_of_one_head = 4096 * 4096 * 2
    assert torch.cuda.max_memory_allocated() - before < scores_of_one_head


def test_a_cuda_graph_captures_it() -> None:
    inputs = _inputs(256, 256, 40, 2)
    y, y_dot = jvp_attention(*inputs)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured, captured_dot = jvp_attention(*inputs)
    captured.zero_()
    graph.replay()
    assert torch.equal(captured, y)
    assert torch.equal(captured_dot, y_dot)
