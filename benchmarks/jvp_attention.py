"""Attention with K tangents on a GPU: our kernel, the unfused formula, torch's own forward passes, and a peer.

The unit is the fastest of torch's fused forward passes. A tangent takes four products in self-attention where the
forward pass takes two, and two in cross-attention, where keys and values have none: at equal efficiency K tangents cost
(1 + 2 K) and (1 + K) forward passes, and those are the goals, but for heads of 40. There a forward pass waits for its
exponentials, which tangents share, and the goal is (1 + 1.5 K). The kernel takes one product a group more, to have its
probabilities: beside the forward pass's two, 36 for 8 tangents in pairs.

TFLOP/s are those of the formula's products, 2 + 4 K or 2 + 2 K a head, whatever a method takes and pads. Runs are
interleaved and timed by CUDA events, with 256 MiB written before each, so that none finds its inputs in the L2 cache;
the forward passes and our kernel are replayed from CUDA graphs, as the torch engine does, and the others, whose kernels
are many or long, are called.

    python -m benchmarks.jvp_attention

The peer, `pip install --no-deps jvp_flash_attention`, takes one tangent at a time, heads of 16, 32, 64, 128 or 256, and
keys as many as queries.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import click
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from memscan.kernels.jvp_attention import jvp_attention, reference
from memscan.kernels.jvp_attention.tiles import tile_for

FORWARDS = {
    "forward, flash": SDPBackend.FLASH_ATTENTION,
    "forward, cuDNN": SDPBackend.CUDNN_ATTENTION,
    "forward, efficient": SDPBackend.EFFICIENT_ATTENTION,
}
CAPTURED = (*FORWARDS, "memscan")
FLUSH_BYTES = 256 * 2**20
WARM_UP = 3
TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Shape:
    """One attention of a UNet."""

    model: str
    queries: int
    keys: int
    heads: int
    head_size: int

    @property
    def is_self(self) -> bool:
        return self.queries == self.keys

    def goal(self, count: int) -> float:
        """At most so many forward passes for `count` tangents."""
        if not self.is_self:
            return 1 + count
        return 1 + (1.5 if self.head_size == 40 else 2) * count

    def products(self, count: int) -> int:
        """Products of a head in the formula."""
        return 2 + (4 if self.is_self else 2) * count

    def kernel_products(self, count: int, group: int) -> int:
        """Products of a head in the kernel, torch's forward pass included, with `group` tangents at a time."""
        return self.products(count) + math.ceil(count / group)

    def operations(self, count: int, batch: int) -> int:
        """Floating-point operations of the formula."""
        return self.products(count) * 2 * batch * self.heads * self.queries * self.keys * self.head_size

    def peer_takes_it(self) -> bool:
        return self.is_self and self.head_size in {16, 32, 64, 128, 256}


SHAPES = [
    Shape("SD 1", 4096, 4096, 8, 40),
    Shape("SD 1", 1024, 1024, 8, 80),
    Shape("SD 1", 256, 256, 8, 160),
    Shape("SDXL", 4096, 4096, 10, 64),
    Shape("SDXL", 1024, 1024, 20, 64),
    Shape("SD 1", 4096, 77, 8, 40),
    Shape("SD 1", 1024, 77, 8, 80),
    Shape("SD 1", 256, 77, 8, 160),
    Shape("SDXL", 4096, 77, 10, 64),
]


@dataclass(frozen=True)
class Figures:
    """Median time of a run, and the most memory it held beside its inputs."""

    milliseconds: float
    mebibytes: float


@click.command()
@click.option("--tangents", type=click.IntRange(1), default=8, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=2, show_default=True)
@click.option("--dtype", type=click.Choice(list(TYPES)), default="fp16", show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=20, show_default=True, help="Timed runs of everything")
def main(tangents: int, batch: int, dtype: str, repeats: int) -> None:
    """Print what K tangents of each attention of SD 1 and SDXL cost."""
    if not torch.cuda.is_available():
        raise click.ClickException("no CUDA device: this benchmark times kernels on a GPU")
    click.echo(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {dtype}, K = {tangents}, batch {batch}\n")
    click.echo(header())
    for shape in SHAPES:
        measured = _measure(_contestants(shape, tangents, batch, TYPES[dtype]), repeats)
        tile = tile_for(shape.head_size, TYPES[dtype].itemsize, shape.is_self, torch.cuda.get_device_capability())
        assert tile is not None
        for line in lines(shape, tangents, batch, measured, tile.tangents):
            click.echo(line)


def header() -> str:
    """The head of the table."""
    names = f"| {'attention':26} | {'method':18} | {'products':>8} | {'ms':>8} | {'x forward':>9} | {'goal':>4} "
    rule = f"|{'-' * 28}|{'-' * 20}|{'-' * 9}:|{'-' * 9}:|{'-' * 10}:|{'-' * 5}:|{'-' * 8}:|{'-' * 8}:|"
    return f"{names}| {'TFLOP/s':>7} | {'MiB':>7} |\n{rule}"


def lines(shape: Shape, count: int, batch: int, measured: dict[str, Figures], group: int) -> list[str]:
    """One line a method; the fastest forward pass is the unit.

    Args:
        group: how many tangents the kernel takes at a time.
    """
    title = f"{shape.model}, {shape.queries} x {shape.keys}, {shape.heads} x {shape.head_size}"
    unit = min(measured[method].milliseconds for method in FORWARDS if method in measured)
    found = []
    for method, figures in measured.items():
        tangents = 0 if method in FORWARDS else count
        products = {"memscan": shape.kernel_products(count, group)}.get(method, shape.products(tangents))
        rate = shape.operations(tangents, batch) / figures.milliseconds / 1e9
        goal = f"{shape.goal(count):g}" if method == "memscan" else ""
        found.append(
            f"| {title:26} | {method:18} | {products:8} | {figures.milliseconds:8.3f} "
            f"| {figures.milliseconds / unit:9.2f} | {goal:>4} | {rate:7.1f} | {figures.mebibytes:7.1f} |"
        )
    return found


def _contestants(shape: Shape, count: int, batch: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    generator = torch.Generator("cuda").manual_seed(0)

    def heads(tokens: int, *leading: int) -> Tensor:
        size = (*leading, batch, tokens, shape.heads, shape.head_size)
        return torch.randn(size, dtype=dtype, device="cuda", generator=generator).transpose(-2, -3)

    q, k, v = heads(shape.queries), heads(shape.keys), heads(shape.keys)
    q_dot = heads(shape.queries, count)
    k_dot, v_dot = (heads(shape.keys, count), heads(shape.keys, count)) if shape.is_self else (None, None)

    def forward(backend: SDPBackend) -> Tensor:
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(q, k, v)

    runs: dict[str, Callable[[], object]] = {
        method: partial(forward, backend) for method, backend in FORWARDS.items() if _runs(partial(forward, backend))
    }
    runs |= {
        "memscan": lambda: jvp_attention(q, k, v, q_dot, k_dot, v_dot),
        "unfused": lambda: reference.jvp_attention(q, k, v, q_dot, k_dot, v_dot),
    }
    if shape.peer_takes_it() and find_spec("jvp_flash_attention") is not None:
        runs["jvp_flash"] = _peer((q, k, v), (q_dot, k_dot, v_dot))
    return runs


def _runs(forward: Callable[[], object]) -> bool:
    """Whether torch has this backend on the device, and it takes the shape."""
    try:
        forward()
    except RuntimeError:
        return False
    return True


def _peer(primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> Callable[[], object]:
    from jvp_flash_attention.jvp_attention import JVPAttn

    primals = [x.contiguous() for x in primals]
    each = [[x_dot.contiguous() for x_dot in dots] for dots in zip(*tangents, strict=True)]

    def run() -> None:
        for dots in each:
            with forward_ad.dual_level():
                JVPAttn.fwd_dual(*[forward_ad.make_dual(x, x_dot) for x, x_dot in zip(primals, dots, strict=True)])

    return run


def _measure(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, Figures]:
    memory = {method: _peak_mebibytes(run) for method, run in runs.items()}
    replays = {method: _captured(run) if method in CAPTURED else run for method, run in runs.items()}
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
    milliseconds: dict[str, list[float]] = {method: [] for method in runs}
    for turn in range(WARM_UP + repeats):
        for method, replay in replays.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            flush.zero_()
            start.record()
            replay()
            end.record()
            end.synchronize()
            if turn >= WARM_UP:
                milliseconds[method].append(start.elapsed_time(end))
    return {method: Figures(statistics.median(times), memory[method]) for method, times in milliseconds.items()}


def _peak_mebibytes(run: Callable[[], object]) -> float:
    run()  # compiles
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _captured(run: Callable[[], object]) -> Callable[[], object]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


if __name__ == "__main__":
    main()
