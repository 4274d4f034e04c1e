"""The Triton kernel against the closed form in float64: in Triton's interpreter, and on a GPU where there is one."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from memscan.kernels.jvp_attention import reference, tiles
from memscan.kernels.jvp_attention.tiles import Tile, column_blocks
from tests.kernels.interpreted import interpreter, run

pytest.importorskip("triton")

TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Root of the mean square error over that of the truth. Half types round p, p s_dot and the results: two or three units
of 2^-12 (float16) and 2^-9 (bfloat16); float32 sums under a hundred terms."""

N, H = 1, 2
SMALL = Tile(queries=16, keys=16, tangents=2, warps=4, stages=2)
"""The interpreter takes a millisecond an instruction of any size: few programs, and yet several tiles and groups."""

Kernel = Callable[..., tuple[Tensor, Tensor]]


@pytest.fixture(scope="module", params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)])
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """`fused_jvp_attention` on CPU tensors, wherever it runs."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        yield _on_cuda
    else:
        with interpreter() as pool:
            yield lambda *inputs, scale=None, tile=SMALL: pool.submit(run, list(inputs), scale, tile).result()


def _on_cuda(*inputs: Tensor | None, scale: float | None = None, tile: Tile = SMALL) -> tuple[Tensor, Tensor]:
    y, y_dot = run([None if x is None else x.cuda() for x in inputs], scale, tile)
    return y.cpu(), y_dot.cpu()


def _inputs(
    queries: int, keys: int, size: int, count: int, dtype: torch.dtype, present: str = "qkv", spread: float = 1.0
) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(queries + keys + size)
    lengths = (queries, keys, keys)
    primals = [spread * torch.randn(N, H, length, size, generator=generator) for length in lengths]
    tangents = [spread * torch.randn(count, *primal.shape, generator=generator) for primal in primals]
    kept = [dot if name in present else None for name, dot in zip("qkv", tangents, strict=True)]
    return [None if x is None else x.to(dtype) for x in (*primals, *kept)]


def _assert_equals_reference(
    results: tuple[Tensor, Tensor], inputs: list[Tensor | None], scale: float | None = None
) -> None:
    exact = reference.jvp_attention(*[None if x is None else x.double() for x in inputs], scale=scale)
    for name, result, truth in zip(("y", "y_dot"), results, exact, strict=True):
        error = (result.double() - truth).square().mean().sqrt() / truth.square().mean().sqrt()
        assert error < TOLERANCE[result.dtype], f"{name}: {error:.1e}"


@pytest.mark.parametrize("size", [40, 64, 80, 160])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_head_size_in_every_type(kernel: Kernel, size: int, dtype: torch.dtype) -> None:
    inputs = _inputs(16, 20, size, 2, dtype)
    _assert_equals_reference(kernel(*inputs), inputs)


TABLES = {name: getattr(tiles, name) for name in ("WGMMA_SELF", "WGMMA_CROSS", "MMA_SELF", "MMA_CROSS", "FLOAT32")}


@pytest.mark.parametrize(("table", "size"), [(name, size) for name, table in TABLES.items() for size in table], ids=str)
def test_every_tile_of_the_table(kernel: Kernel, table: str, size: int) -> None:
    dtype = torch.float32 if table == "FLOAT32" else torch.float16
    tile = TABLES[table][size]
    inputs = _inputs(20, 77, size, tile.tangents, dtype, "q" if table.endswith("CROSS") else "qkv")
    _assert_equals_reference(kernel(*inputs, tile=tile), inputs)


@pytest.mark.parametrize("size", [4, 8, 24, 72, 112])
def test_a_head_size_that_needs_padding_or_three_blocks(kernel: Kernel, size: int) -> None:
    inputs = _inputs(5, 7, size, 1, torch.float16)
    _assert_equals_reference(kernel(*inputs), inputs)


@pytest.mark.parametrize(("queries", "keys"), [(33, 77), (1, 1), (32, 64), (16, 17)], ids=str)
def test_any_lengths(kernel: Kernel, queries: int, keys: int) -> None:
    inputs = _inputs(queries, keys, 40, 1, torch.float16)
    _assert_equals_reference(kernel(*inputs), inputs)


@pytest.mark.parametrize("present", ["q", "k", "v", "qk", "qv", "kv"])
def test_absent_tangents(kernel: Kernel, present: str) -> None:
    inputs = _inputs(16, 20, 40, 2, torch.float16, present)
    _assert_equals_reference(kernel(*inputs), inputs)


@pytest.mark.parametrize(("count", "group"), [(1, 4), (3, 2), (8, 3), (4, 4)], ids=str)
def test_any_number_of_tangents_in_any_groups(kernel: Kernel, count: int, group: int) -> None:
    inputs = _inputs(9, 20, 16, count, torch.float16)
    _assert_equals_reference(kernel(*inputs, tile=Tile(16, 32, group, 4, 2)), inputs)


def _heads_beside_columns(x: Tensor) -> Tensor:
    return x.transpose(-2, -3).contiguous().transpose(-2, -3)


def _columns_apart(x: Tensor) -> Tensor:
    return x.mT.contiguous().mT


def _odd_rows(x: Tensor) -> Tensor:
    return torch.nn.functional.pad(x, (0, 3))[..., :-3]


@pytest.mark.parametrize("layout", [_heads_beside_columns, _columns_apart, _odd_rows])
@pytest.mark.parametrize("of", ["all", "keys"])
def test_any_strides(kernel: Kernel, layout: Callable[[Tensor], Tensor], of: str) -> None:
    inputs = _inputs(16, 20, 40, 2, torch.float16)
    views = [layout(x) if of == "all" or index == 1 else x for index, x in enumerate(inputs)]
    _assert_equals_reference(kernel(*views), inputs)


def test_another_scale(kernel: Kernel) -> None:
    inputs = _inputs(16, 20, 40, 1, torch.float32)
    _assert_equals_reference(kernel(*inputs, scale=0.3), inputs, scale=0.3)


@pytest.mark.parametrize("present", ["qkv", "q"])
def test_float16_stays_in_range_where_score_tangents_do_not_fit_it(kernel: Kernel, present: str) -> None:
    """Queries of 1e-3 and values of 1e-3 keep softmax and results ordinary, with score tangents of 1e6 in between."""
    q, k, v, q_dot, k_dot, v_dot = _inputs(16, 40, 40, 2, torch.float32)
    scaled = [q * 1e-3, k * 1e3, v * 1e-3, q_dot * 1e3, k_dot * 1e3, v_dot]
    inputs = [x.half() for x in scaled]
    inputs = [x if index < 3 or "qkv"[index - 3] in present else None for index, x in enumerate(inputs)]
    products = inputs[0].shape[-1] ** -0.5 * (inputs[3].double() @ inputs[1].double().mT)
    assert products.abs().max() > 10 * torch.finfo(torch.float16).max
    _assert_equals_reference(kernel(*inputs), inputs)


@pytest.mark.parametrize("present", ["qk", "q"])
def test_a_common_part_of_all_keys_costs_no_accuracy(kernel: Kernel, present: str) -> None:
    """Eight times their spread; where it is not taken out, y_dot is off by four times the tolerance."""
    inputs = [
        None if x is None else x + 8 * (i in (1, 4))
        for i, x in enumerate(_inputs(16, 40, 40, 2, torch.bfloat16, present))
    ]
    _assert_equals_reference(kernel(*inputs), inputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_common_part_of_all_values_costs_no_accuracy(kernel: Kernel, dtype: torch.dtype) -> None:
    """Sixteen times their spread; where it is not taken out, y rounded to the type is off by as much as y_dot."""
    inputs = [x if i != 2 else x + 16 for i, x in enumerate(_inputs(16, 40, 40, 2, dtype, "qk"))]
    _assert_equals_reference(kernel(*inputs), inputs)


@pytest.mark.parametrize("present", ["qkv", "q"])
def test_float16_keeps_small_probabilities(kernel: Kernel, present: str) -> None:
    """Over 2,048 keys p is 2^-11 and p s_dot some 2^-21, where float16 has three bits left; lifted, it has all."""
    inputs = [
        x if x is None or i < 3 else x / 512 for i, x in enumerate(_inputs(8, 2048, 16, 1, torch.float16, present))
    ]
    inputs[0] = torch.zeros_like(inputs[0])
    if "k" in present:
        inputs[0] += 1 / 64
    _assert_equals_reference(kernel(*inputs, tile=Tile(16, 256, 1, 4, 1)), inputs)


def test_what_does_not_fit_is_refused(kernel: Kernel) -> None:
    q, k, v, q_dot, k_dot, v_dot = _inputs(16, 20, 40, 2, torch.float16)
    with pytest.raises(ValueError, match=r"k_dot is torch.float16 \[2, 1, 2, 16, 40\].*\[2, 1, 2, 20, 40\] there"):
        kernel(q, k, v, q_dot, q_dot, v_dot)
    with pytest.raises(ValueError, match=r"v is torch.float32"):
        kernel(q, k, v.float(), q_dot, k_dot, v_dot)
    with pytest.raises(ValueError, match="no tangent was given"):
        kernel(q, k, v)
    with pytest.raises(ValueError, match=r"positive, not -1\.0"):
        kernel(q, k, v, q_dot, k_dot, v_dot, scale=-1.0)


@pytest.mark.parametrize("size", [1, 16, 40, 64, 80, 112, 120, 160])
def test_column_blocks_are_powers_of_two_and_cover_the_head(size: int) -> None:
    blocks = column_blocks(size)
    assert all(width >= 16 and math.log2(width).is_integer() for _, width in blocks)
    assert [start for start, _ in blocks] == [sum(width for _, width in blocks[:i]) for i in range(len(blocks))]
    assert size <= sum(width for _, width in blocks) < size + 16
