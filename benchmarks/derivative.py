"""What K directional derivatives of a denoiser cost, in forward passes of the same runtime.

memscan's graph in ONNX Runtime against torch's reverse mode (K backward passes through one recorded forward pass, as
the paper's code does it) and torch's forward mode, `vmap(jvp)`. All run interleaved in one process on one thread, and
the time is that thread's own, so that a busy machine matters little; `vmap(jvp)` is so slow that it is timed once.

    python -m benchmarks.derivative --unet small --repeats 7
"""

import statistics
import time
from collections.abc import Callable

import click
import onnx_ir as ir
import onnxruntime
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from memscan.export.denoiser import EpsDenoiser
from memscan.export.measure import measure_graph
from memscan.export.trace import INPUTS, trace_denoiser

UNETS = {
    "small": {
        "sample_size": 16,
        "block_out_channels": (48, 64, 96),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    },
    "large": {
        "sample_size": 32,
        "block_out_channels": (64, 128, 256),
        "layers_per_block": 2,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    },
}
TOKENS = 16
GROUPS = {4: (4,), 8: (8,), 16: (8, 8)}
"""K and the calls that make it up: past 8 a larger group saves next to nothing and costs memory."""
WARM_UP = 2
ONCE = ("torch vmap(jvp)",)


@click.command()
@click.option("--unet", type=click.Choice(list(UNETS)), multiple=True, default=("small", "large"), show_default=True)
@click.option("--batch", type=click.IntRange(1), default=2, show_default=True, help="Images in a call")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Timed runs of everything")
@click.option("--vmap/--no-vmap", default=True, show_default=True, help="Also time vmap(jvp), which is slow")
def main(unet: tuple[str, ...], batch: int, repeats: int, vmap: bool) -> None:
    """Print the cost of K = 4, 8 and 16 derivatives as a table."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for name in unet:
        contestants = _contestants(name, batch, vmap)
        _print_table(name, batch, repeats, _medians(contestants, repeats))


def _contestants(name: str, batch: int, vmap: bool) -> dict[tuple[str, int], Callable[[], object]]:
    """(method, K) -> one timed run; K = 0 is the forward pass."""
    unet = UNet2DConditionModel(cross_attention_dim=64, attention_head_dim=8, norm_num_groups=8, **UNETS[name])
    denoiser = EpsDenoiser(unet.eval().requires_grad_(False), "epsilon", torch.linspace(0.999, 0.005, 1000))
    size = UNETS[name]["sample_size"]
    assert isinstance(size, int)
    sample = torch.randn(batch, 4, size, size)
    timestep, text = torch.full((batch,), 101), torch.randn(batch, TOKENS, 64)
    probes = torch.randint(0, 2, (max(GROUPS), *sample.shape)).float() * 2 - 1
    model = trace_denoiser(denoiser, (4, size, size), (TOKENS, 64))
    feed = {key: value.numpy() for key, value in zip(INPUTS, (sample, timestep, text), strict=True)}
    forward = _session(model)
    measure = {
        group: _session(measure_graph(model, group)) for group in {g for groups in GROUPS.values() for g in groups}
    }

    def eps(x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = denoiser(x, timestep, text)
        return result

    def torch_forward() -> torch.Tensor:
        with torch.no_grad():
            return eps(sample)

    runs: dict[tuple[str, int], Callable[[], object]] = {
        ("memscan, ONNX Runtime", 0): lambda: forward.run(None, feed),
        ("torch reverse mode", 0): torch_forward,
    }
    for count, groups in GROUPS.items():
        runs["memscan, ONNX Runtime", count] = lambda groups=groups: [
            measure[group].run(None, {**feed, "tangents": probes[:group].numpy()}) for group in groups
        ]
        runs["torch reverse mode", count] = lambda count=count: _reverse_mode(eps, sample, probes[:count])
        if vmap:
            runs["torch vmap(jvp)", count] = lambda count=count: _forward_mode(unet, eps, sample, probes[:count])
    return runs


def _reverse_mode(
    eps: Callable[[torch.Tensor], torch.Tensor], sample: torch.Tensor, probes: torch.Tensor
) -> torch.Tensor:
    """The sum of v * (J^T v), which estimates the same diagonal."""
    x = sample.clone().requires_grad_(True)
    y = eps(x)
    total = torch.zeros_like(sample)
    for probe in probes:
        (gradient,) = torch.autograd.grad((y * probe).sum(), x, retain_graph=True)
        total += probe * gradient
    return total


def _forward_mode(
    unet: UNet2DConditionModel,
    eps: Callable[[torch.Tensor], torch.Tensor],
    sample: torch.Tensor,
    probes: torch.Tensor,
) -> torch.Tensor:
    """The sum of v * (J v); scaled_dot_product_attention has no forward derivative, so attention is spelled out."""
    unet.set_attn_processor(AttnProcessor())
    try:
        tangents = torch.func.vmap(lambda v: torch.func.jvp(eps, (sample,), (v,))[1])(probes)
    finally:
        unet.set_attn_processor(AttnProcessor2_0())
    return (probes * tangents).sum(0)


def _session(model: ir.Model) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options, ["CPUExecutionProvider"])


def _medians(runs: dict[tuple[str, int], Callable[[], object]], repeats: int) -> dict[tuple[str, int], float]:
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    last = WARM_UP + repeats - 1
    for turn in range(last + 1):
        for key, run in runs.items():
            if key[0] in ONCE and turn < last - 1:
                continue
            start = time.process_time()
            run()
            if turn >= WARM_UP and (key[0] not in ONCE or turn == last):
                seconds[key].append(time.process_time() - start)
    return {key: statistics.median(times) for key, times in seconds.items()}


def _print_table(name: str, batch: int, repeats: int, medians: dict[tuple[str, int], float]) -> None:
    click.echo(f"\n{name} UNet, batch {batch}, one thread, medians of {repeats} interleaved runs")
    click.echo("F = a forward pass of the same runtime; the goal is at most 2 (1 + K) F\n")
    click.echo(f"| {'method':21} |  K | {'seconds':>8} | {'F':>6} | {'2 (1 + K)':>9} | vs reverse mode |")
    click.echo(f"|{'-' * 23}|---:|{'-' * 9}:|{'-' * 7}:|{'-' * 10}:|{'-' * 16}:|")
    for (method, count), seconds in medians.items():
        forward = medians["memscan, ONNX Runtime" if method.startswith("memscan") else "torch reverse mode", 0]
        speedup = f"{medians['torch reverse mode', count] / seconds:14.2f}x"
        limit = f"{2 * (1 + count)}" if count else ""
        click.echo(f"| {method:21} | {count:2} | {seconds:8.3f} | {seconds / forward:6.2f} | {limit:>9} | {speedup} |")


if __name__ == "__main__":
    main()
