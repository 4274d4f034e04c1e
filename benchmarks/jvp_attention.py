"""Attention with K tangents on a GPU: our kernel, the unfused formula, torch's own forward pass, and a peer.

The measure is the time of torch's fused forward pass (flash). A tangent takes four products in self-attention where
the forward pass takes two, and two in cross-attention, where keys and values have none: at equal efficiency K tangents
cost (1 + 2 K) and (1 + K) forward passes, and those are the goals. Runs are interleaved and timed by CUDA events, with
256 MiB written before each, so that none finds its inputs in the L2 cache; the forward pass and our kernel are replayed
from CUDA graphs, as the torch engine does, and the others, whose kernels are many or long, are called.

    python -m benchmarks.jvp_attention

The peer, `pip install --no-deps jvp_flash_attention`, takes one tangent at a time, heads of 16, 32, 64, 128 or 256, and
keys as many as queries.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import click
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from memscan.kernels.jvp_attention import jvp_attention, reference

CAPTURED = ("forward", "memscan")
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

    def goal(self, count: int) -> int:
        """The arithmetic of the forward pass and `count` tangents, in forward passes."""
        return 1 + (2 if self.is_self else 1) * count

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
        for line in lines(shape, tangents, measured):
            click.echo(line)


def header() -> str:
    """The head of the table."""
    names = f"| {'attention':26} | {'method':16} | {'ms':>8} | {'x forward':>9} | {'goal':>4} | {'MiB':>7} |"
    return f"{names}\n|{'-' * 28}|{'-' * 18}|{'-' * 9}:|{'-' * 10}:|{'-' * 5}:|{'-' * 8}:|"


def lines(shape: Shape, count: int, measured: dict[str, Figures]) -> list[str]:
    """One line a method; the method "forward" is the unit."""
    title = f"{shape.model}, {shape.queries} x {shape.keys}, {shape.heads} x {shape.head_size}"
    unit = measured["forward"].milliseconds
    return [
        f"| {title:26} | {method:16} | {figures.milliseconds:8.3f} | {figures.milliseconds / unit:9.2f} "
        f"| {shape.goal(count) if method == 'memscan' else '':>4} | {figures.mebibytes:7.1f} |"
        for method, figures in measured.items()
    ]


def _contestants(shape: Shape, count: int, batch: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    generator = torch.Generator("cuda").manual_seed(0)

    def heads(tokens: int, *leading: int) -> Tensor:
        size = (*leading, batch, tokens, shape.heads, shape.head_size)
        return torch.randn(size, dtype=dtype, device="cuda", generator=generator).transpose(-2, -3)

    q, k, v = heads(shape.queries), heads(shape.keys), heads(shape.keys)
    q_dot = heads(shape.queries, count)
    k_dot, v_dot = (heads(shape.keys, count), heads(shape.keys, count)) if shape.is_self else (None, None)

    def forward() -> Tensor:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return scaled_dot_product_attention(q, k, v)

    runs: dict[str, Callable[[], object]] = {
        "forward": forward,
        "memscan": lambda: jvp_attention(q, k, v, q_dot, k_dot, v_dot),
        "unfused": lambda: reference.jvp_attention(q, k, v, q_dot, k_dot, v_dot),
    }
    if shape.peer_takes_it() and find_spec("jvp_flash_attention") is not None:
        runs["jvp_flash"] = _peer((q, k, v), (q_dot, k_dot, v_dot))
    return runs


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
