"""What K directional derivatives of a denoiser cost, in forward passes of the same runtime.

memscan's graph in ONNX Runtime against torch's reverse mode (K backward passes through one recorded forward pass, as
the paper's code does it), torch's forward mode, `vmap(jvp)`, and onnx-ad, which differentiates the same ONNX graph. All
run interleaved in one process on one thread, and the time is that thread's own. `vmap(jvp)` and onnx-ad are so slow
that they are timed once, onnx-ad at K = 8 only: its memory grows with K and took 6.5 GiB there on the large UNet.
Finite differences take K + 1 forward passes, or 2 K, in one batch, with sliced attention, and are given
their best steps, which are printed above the table.

F, the unit, is the fastest of the forms in which the forward pass alone can be given to the runtime. Errors are those
of the sum of v * (J v), or v * (J^T v) in reverse mode, against the same sum in float64, relative; memory is what a
first call takes beyond what is loaded.

    python -m benchmarks.derivative --unet small --repeats 7
"""

import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnx_ad
import onnx_ir as ir
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from benchmarks.call_memory import call_memory
from benchmarks.derivative_truth import eps_of, print_best_steps, reverse_mode, truths
from benchmarks.finite_differences import METHODS, Difference, relative_error
from benchmarks.graph_memory import peak_memory
from memscan.export.autodiff.cut import CUTS
from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.graphs.flops import graph_flops
from memscan.export.graphs.measure import measure_graph
from memscan.export.graphs.trace import INPUTS, trace_denoiser
from memscan.export.passes.native_group_norm import NativeGroupNorm
from memscan.export.passes.sliced_attention import SliceAttention
from memscan.export.passes.written_out_attention import WriteOutAttention
from memscan.scanner.graph_names import MEASURE, STEP
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from memscan.scanner.settings import Derivative

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
OURS, PEER, REVERSE, FORWARD = "memscan, ONNX Runtime", "onnx-ad, ONNX Runtime", "torch reverse mode", "torch vmap(jvp)"
DIFFERENCES = {name: f"{name} differences" for name in METHODS}
WARM_UP = 2  # the first two runs pay for fresh memory
ONCE = (FORWARD, PEER)
PEER_TANGENTS = 8
GOALS = {4: 1.05 * 5, 8: 1.05 * 9, 16: 18.0}
"""At most so many F for K."""
CUT_METHODS: dict[Derivative, str] = {
    "frozen": "memscan frozen, ONNX Runtime",
    "shallow": "memscan shallow, ONNX Runtime",
}
CUT_TANGENTS = 8
SPEED_GOAL = 4.5
"""Times the speed of reverse mode with the same K, on the large UNet."""

Key = tuple[str, int]
"""Method and K."""
Runs = dict[Key, Callable[[], torch.Tensor | None]]
"""Each gives its sum of v * (J v), or None if it is a forward pass."""


@dataclass(frozen=True)
class Figures:
    """Median seconds of a run, what it gave, and the bytes that a first run takes."""

    seconds: float
    result: torch.Tensor | None
    memory: int


@click.command()
@click.option("--unet", type=click.Choice(list(UNETS)), multiple=True, default=("small", "large"), show_default=True)
@click.option("--batch", type=click.IntRange(1), default=2, show_default=True, help="Images in a call")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Timed runs of everything")
@click.option("--slow/--no-slow", default=True, show_default=True, help="Also time vmap(jvp) and onnx-ad")
def main(unet: tuple[str, ...], batch: int, repeats: int, slow: bool) -> None:
    """Print the cost of K = 4, 8 and 16 derivatives as a table."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for name in unet:
        denoiser, traced = _trace(name)
        feed = _inputs(name, batch)
        measure = {count: _sliced(measure_graph(traced, count)) for count in sorted(set(sum(GROUPS.values(), ())))}
        steps = print_best_steps(denoiser, feed)
        cut = {kind: measure_graph(traced, CUT_TANGENTS, CUTS[kind]) for kind in CUT_METHODS}
        share = _tangent_share(traced, cut["shallow"], batch)
        runs = _onnx_runs(traced, measure, steps, feed) | _cut_runs(cut, feed) | _torch_runs(denoiser, feed, slow)
        if slow:
            runs[PEER, PEER_TANGENTS] = _peer(traced, feed)
        memory = {key: call_memory(run) for key, run in runs.items()}
        _print_table(name, batch, repeats, _figures(runs, memory, repeats), _goals(share), truths(denoiser, feed))
        click.echo(f"\na tangent of the shallow derivative is {share:.3f} of the operations of a forward pass")
        click.echo(f"\nmeasuring {max(measure)} tangents takes {_peak(measure[max(measure)], batch):.2f} GiB at most")


def _trace(name: str) -> tuple[EpsDenoiser, ir.Model]:
    unet = UNet2DConditionModel(cross_attention_dim=64, attention_head_dim=8, norm_num_groups=8, **UNETS[name])
    denoiser = EpsDenoiser(unet.eval().requires_grad_(False), "epsilon")
    return denoiser, trace_denoiser(denoiser, (4, unet.config.sample_size, unet.config.sample_size), (TOKENS, 64))


def _inputs(name: str, batch: int) -> dict[str, torch.Tensor]:
    """The denoiser's inputs, and as many probes as the largest K needs."""
    sample = torch.randn(batch, 4, UNETS[name]["sample_size"], UNETS[name]["sample_size"])
    probes = torch.randint(0, 2, (max(GROUPS), *sample.shape)).float() * 2 - 1
    level = (torch.full((batch,), number) for number in (101.0, 0.96, 0.28))
    values = (sample, *level, torch.randn(batch, TOKENS, 64), probes)
    return dict(zip((*INPUTS, "tangents"), values, strict=True))


def _onnx_runs(
    traced: ir.Model, measure: dict[int, ir.Model], steps: dict[str, float], inputs: dict[str, torch.Tensor]
) -> Runs:
    """The forward pass in its forms, K derivatives, and finite differences."""
    feed = {name: value.numpy() for name, value in inputs.items()}
    probes = feed.pop("tangents")
    native = traced.clone()
    NativeGroupNorm()(native)
    written_out, sliced = native.clone(), native.clone()
    WriteOutAttention()(written_out)
    SliceAttention()(sliced)
    forms = {
        "as traced": traced,
        "native norms": native,
        "written-out attention": written_out,
        "sliced attention": sliced,
    }
    runs: Runs = {}
    forwards = {form: _session(model) for form, model in forms.items()}
    for form, session in forwards.items():
        runs[f"forward, {form}", 0] = lambda session=session: _forgotten(session.run(None, feed))
    sessions = {count: _session(model) for count, model in measure.items()}

    def products(groups: tuple[int, ...]) -> torch.Tensor:
        parts = np.split(probes[: sum(groups)], np.cumsum(groups)[:-1])
        sums = [sessions[len(part)].run(["v_dot_jv"], {**feed, "tangents": part})[0] for part in parts]
        return torch.from_numpy(sum(sums[1:], sums[0]))

    for count, groups in GROUPS.items():
        runs[OURS, count] = functools.partial(products, groups)

    def eps(sample: torch.Tensor) -> torch.Tensor:
        repeats = len(sample) // len(feed["sample"])
        others = {name: np.concatenate([value] * repeats) for name, value in feed.items()}
        return torch.from_numpy(forwards["sliced attention"].run(None, {**others, "sample": sample.numpy()})[0])

    def differences(difference: Difference, count: int, step: float) -> torch.Tensor:
        return difference(eps, inputs["sample"], inputs["tangents"][:count], step)

    for name, difference in METHODS.items():
        for count in GROUPS:
            runs[DIFFERENCES[name], count] = functools.partial(differences, difference, count, steps[name])
    return runs


def _forgotten(_: object) -> None:
    """A forward pass gives no derivative."""


def _cut_runs(cut: dict[Derivative, ir.Model], inputs: dict[str, torch.Tensor]) -> Runs:
    """The derivatives that leave paths out."""
    feed = {name: value.numpy() for name, value in inputs.items()}
    feed["tangents"] = feed["tangents"][:CUT_TANGENTS]
    sessions = {kind: _session(_sliced(model.clone())) for kind, model in cut.items()}
    return {
        (CUT_METHODS[kind], CUT_TANGENTS): lambda session=session: torch.from_numpy(session.run(["v_dot_jv"], feed)[0])
        for kind, session in sessions.items()
    }


def _tangent_share(traced: ir.Model, measure: ir.Model, batch: int) -> float:
    """Operations of a tangent, in those of a forward pass."""
    with tempfile.TemporaryDirectory() as folder:
        operations = []
        for name, model in {STEP: traced.clone(), MEASURE: measure.clone()}.items():
            WriteOutAttention()(model)
            ir.save(model, Path(folder) / name)
            operations.append(graph_flops(Path(folder) / name, batch))
    forward, measuring = operations
    return (measuring / forward - 1) / CUT_TANGENTS


def _goals(share: float) -> dict[Key, float]:
    """At most so many F, by method and K; `share` is that of a tangent of the shallow derivative."""
    goals = {(OURS, count): goal for count, goal in GOALS.items()}
    goals[CUT_METHODS["frozen"], CUT_TANGENTS] = 0.8 * (1 + CUT_TANGENTS)
    goals[CUT_METHODS["shallow"], CUT_TANGENTS] = 1.25 * (1 + CUT_TANGENTS * share)
    return goals


def _torch_runs(denoiser: EpsDenoiser, inputs: dict[str, torch.Tensor], slow: bool) -> Runs:
    """The forward pass, and K derivatives by torch's two modes."""
    sample, probes, eps = inputs["sample"], inputs["tangents"], eps_of(denoiser, inputs)

    def torch_forward() -> None:
        with torch.no_grad():
            eps(sample)

    runs: Runs = {(REVERSE, 0): torch_forward}
    for count in GROUPS:
        runs[REVERSE, count] = lambda count=count: reverse_mode(eps, sample, probes[:count])
        if slow:
            runs[FORWARD, count] = lambda count=count: _forward_mode(denoiser.unet, eps, sample, probes[:count])
    return runs


def _peer(traced: ir.Model, inputs: dict[str, torch.Tensor]) -> Callable[[], torch.Tensor]:
    """onnx-ad's forward mode on the same graph; it takes the tangents on a trailing axis."""
    derived = onnx_ad.forward(ir.to_proto(traced), inputs=["sample"], outputs=["eps"], layout="onnx")
    session = _session(ir.from_proto(derived))
    feed = {name: inputs[name].numpy() for name in INPUTS}
    probes = np.ascontiguousarray(np.moveaxis(inputs["tangents"][:PEER_TANGENTS].numpy(), 0, -1))

    def run() -> torch.Tensor:
        _, eps_dot = session.run(["eps", "fwd_eps"], {**feed, "fwd_sample": probes})
        return torch.from_numpy((probes * eps_dot).sum(-1))

    return run


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


def _sliced(model: ir.Model) -> ir.Model:
    """With the attention that a bundle gives ONNX Runtime."""
    SliceAttention()(model)
    return model


def _session(model: ir.Model) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # onnx-ad's graphs hold constants that nothing uses
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options, ["CPUExecutionProvider"])


def _peak(model: ir.Model, batch: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        ir.save(model, Path(folder) / MEASURE)
        return peak_memory(Path(folder) / MEASURE, batch)


def _figures(runs: Runs, memory: dict[Key, int], repeats: int) -> dict[Key, Figures]:
    seconds: dict[Key, list[float]] = {key: [] for key in runs}
    results = {}
    last = WARM_UP + repeats - 1
    for turn in range(last + 1):
        for key, run in runs.items():
            if key[0] in ONCE and turn < last - 1:
                continue
            start = time.process_time()
            results[key] = run()
            if turn >= WARM_UP and (key[0] not in ONCE or turn == last):
                seconds[key].append(time.process_time() - start)
    return {key: Figures(statistics.median(times), results[key], memory[key]) for key, times in seconds.items()}


def _print_table(
    name: str,
    batch: int,
    repeats: int,
    measured: dict[Key, Figures],
    goals: dict[Key, float],
    truth: Callable[[bool, int], torch.Tensor],
) -> None:
    forward = min(figures.seconds for (method, _), figures in measured.items() if method.startswith("forward"))
    torch_forward = measured[REVERSE, 0].seconds
    click.echo(f"\n{name} UNet, batch {batch}, one thread, medians of {repeats} interleaved runs")
    click.echo(f"F = a forward pass of the same runtime; goals: at most so many F, {SPEED_GOAL}x reverse mode\n")
    columns = f"| {'method':30} |  K | {'seconds':>8} | {'F':>6} | {'goal':>5} | vs reverse mode |"
    click.echo(f"{columns} {'error':>7} | {'MiB':>6} |")
    click.echo(f"|{'-' * 32}|---:|{'-' * 9}:|{'-' * 7}:|{'-' * 6}:|{'-' * 16}:|{'-' * 8}:|{'-' * 7}:|")
    for (method, count), figures in measured.items():
        unit = torch_forward if method.startswith("torch") else forward
        goal = f"{goals[method, count]:.2f}" if (method, count) in goals else ""
        speed = f"{measured[REVERSE, count].seconds / figures.seconds:.2f}x"
        error = (
            "" if figures.result is None else f"{relative_error(figures.result, truth(method == REVERSE, count)):.1e}"
        )
        click.echo(
            f"| {method:30} | {count:2} | {figures.seconds:8.3f} | {figures.seconds / unit:6.2f} | {goal:>5} "
            f"| {speed:>15} | {error:>7} | {figures.memory / 2**20:6.0f} |"
        )


if __name__ == "__main__":
    main()
