"""Finite differences: the derivative that needs no derivative graph, and where it loses to one that is exact.

One-sided, v * (J v) is about v * (eps(x + h v) - eps(x)) / h: K + 1 forward passes in one batch. Central, it takes 2 K,
and the error of truncation falls with h^2 instead of h. That of rounding eps grows with 1 / h in both.

    python -m benchmarks.finite_differences

measures both on the testbed's pipeline, on states of its own trajectories, against float64: relative error of dh_uncond
and local IoU at the best threshold, held-out captions, 8 Hadamard probes. Half precision is computed as exported graphs
compute it, by the torch engine; with float16 storage, weights are rounded and arithmetic is not.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import numpy as np
import onnx_ir as ir
import torch
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.torch_procedures import Model
from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.graphs.measure import measure_graph
from memscan.export.graphs.storage import StorageDtype, save_graph
from memscan.export.graphs.trace import INPUTS, trace_denoiser
from memscan.export.passes.half_precision import HALF_TYPES, HalfPrecision, Precision
from memscan.kernels.torch_runtime.constants import Constants
from memscan.kernels.torch_runtime.fused_attention import fuse_attention
from memscan.kernels.torch_runtime.graph_file import read_graph
from memscan.kernels.torch_runtime.plan import Plan
from memscan.scanner.calibration.thresholds import best_threshold
from memscan.scanner.metrics.probes import make_probes
from memscan.scanner.settings import Probes
from testbed.captions import SEEDS, Caption, of_kind, split_of
from testbed.cells import cover
from testbed.dataset import masks
from testbed.tables import HOME

Eps = Callable[[Tensor], Tensor]
"""Samples [B, C, h, w], B a multiple of the batch, to eps."""
Difference = Callable[[Eps, Tensor, Tensor, float], Tensor]

STEPS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""h, in the unit of x_t, whose variance is about 1."""
SEARCHED = (0.0001, 0.0003, *STEPS)


def one_sided(eps: Eps, sample: Tensor, probes: Tensor, step: float) -> Tensor:
    """The sum over K probes of v * (eps(x + h v) - eps(x)) / h, by one call.

    Args:
        sample: x `[N, C, h, w]`.
        probes: v `[K, N, C, h, w]`.
    """
    results = _in_one_batch(eps, torch.cat([sample[None], sample + step * probes]))
    return (probes * (results[1:] - results[0])).sum(0) / step


def central(eps: Eps, sample: Tensor, probes: Tensor, step: float) -> Tensor:
    """The sum over K probes of v * (eps(x + h v) - eps(x - h v)) / 2h, by one call; arguments as of `one_sided`."""
    ahead, behind = _in_one_batch(eps, torch.cat([sample + step * probes, sample - step * probes])).chunk(2)
    return (probes * (ahead - behind)).sum(0) / (2 * step)


METHODS: dict[str, Difference] = {"one-sided": one_sided, "central": central}


def best_steps(eps: Eps, sample: Tensor, probes: Tensor, truth: Tensor) -> dict[str, tuple[float, float]]:
    """The step with the least error, and that error, of each of METHODS; arguments as of `one_sided`."""

    def tried(difference: Difference) -> Iterator[tuple[float, float]]:
        for step in SEARCHED:
            yield step, relative_error(difference(eps, sample, probes, step), truth)

    return {name: min(tried(difference), key=lambda found: found[1]) for name, difference in METHODS.items()}


def relative_error(found: Tensor, truth: Tensor) -> float:
    """Root of the mean square error over that of the truth."""
    return float((found.double() - truth).norm() / truth.norm())


def forward_mode(eps: Eps, sample: Tensor, probes: Tensor) -> Tensor:
    """The sum over K probes of v * (J v) by torch's forward mode, one probe after the other."""
    return torch.stack([probe * torch.func.jvp(eps, (sample,), (probe,))[1] for probe in probes]).sum(0)


def _in_one_batch(eps: Eps, samples: Tensor) -> Tensor:
    return eps(samples.flatten(0, 1)).unflatten(0, samples.shape[:2])


Arithmetic = Literal["float32", "float16 storage", "float16", "bfloat16"]
FORMS: dict[Arithmetic, tuple[Precision, StorageDtype]] = {
    "float32": ("fp32", "float32"),
    "float16 storage": ("fp32", "float16"),
    "float16": ("fp16", "float32"),
    "bfloat16": ("bf16", "float32"),
}
TIMESTEPS = (1, 21, 101, 201)
NUM_INFERENCE_STEPS, GUIDANCE_SCALE = 50, 1.5
PROBES = Probes("hadamard", 8)


EpsOf = Callable[[int, Tensor], Eps]
"""Timestep and text states to eps at that level, given that text."""


@dataclass(frozen=True)
class States:
    """What is measured: images of captions on their way.

    Attributes:
        samples: x_t `[N, C, h, w]` by timestep.
        sigmas: by timestep.
        texts: text states `[N, S, D]` of the prompts, and of none.
        truth: `[N, h, w]`, the share of each cell that is memorized.
    """

    samples: dict[int, Tensor]
    sigmas: dict[int, float]
    texts: tuple[Tensor, Tensor]
    truth: NDArray[np.float64]

    def dh(self, timestep: int, probes: Tensor, diagonal: Callable[[int, Tensor, Tensor], Tensor]) -> Tensor:
        """dh_uncond `[N, h, w]`.

        Args:
            probes: `[K, N, C, h, w]`.
            diagonal: timestep, text states and probes to the sum of v * (J v) `[N, C, h, w]`.
        """
        prompt, none = (diagonal(timestep, text, probes) for text in self.texts)
        return self.sigmas[timestep] / len(probes) * (prompt.double() - none.double()).mean(1)

    def iou(self, dh: Tensor) -> float:
        """Global IoU at the best threshold."""
        return best_threshold(dh.numpy(), self.truth).iou


@torch.no_grad()
def trajectory(model: Model, captions: Sequence[Caption], seeds: Sequence[int]) -> States:
    """Follow DDIM with guidance from every caption and seed, and keep the states at TIMESTEPS."""
    prompts = [caption.prompt for caption in captions for _ in seeds]
    texts = model.encode(prompts), model.encode([""] * len(prompts))
    config = model.unet.config
    shape = (1, config.in_channels, config.sample_size, config.sample_size)
    drawn = torch.cat([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    sample = drawn.repeat(len(captions), 1, 1, 1)
    scheduler = DDIMScheduler.from_pretrained(HOME / "pipeline" / "scheduler")
    scheduler.set_timesteps(NUM_INFERENCE_STEPS)
    samples = {}
    for timestep in scheduler.timesteps.tolist():
        if timestep in TIMESTEPS:
            samples[timestep] = sample
        eps_c, eps_0 = (model.eps(sample, timestep, text) for text in texts)
        sample = scheduler.step(eps_0 + GUIDANCE_SCALE * (eps_c - eps_0), timestep, sample).prev_sample
    sigmas = {timestep: float((1 - scheduler.alphas_cumprod[timestep]).sqrt()) for timestep in samples}
    shares = [cover(masks(caption).memorized, shape[2:]) for caption in captions for _ in seeds]
    return States(samples, sigmas, texts, np.stack(shares))


class Graphs:
    """The denoiser and its measuring graph in one arithmetic, run by the torch engine."""

    def __init__(self, traced: ir.Model, arithmetic: Arithmetic, folder: Path) -> None:
        precision, storage = FORMS[arithmetic]
        denoiser = traced.clone()
        if precision in HALF_TYPES:
            HalfPrecision(HALF_TYPES[precision])(denoiser)
        self._eps = _plan(denoiser.clone(), folder / "eps.onnx", storage)
        self._measure = _plan(measure_graph(denoiser, PROBES.count), folder / "measure.onnx", storage)

    def eps_at(self, timestep: int, text: Tensor) -> Eps:
        """eps of the given level and text, for any multiple of the text's batch."""

        def eps(sample: Tensor) -> Tensor:
            return self._eps.run(_inputs(sample, timestep, text))["eps"]

        return eps

    def exact(self, timestep: int, text: Tensor, probes: Tensor, sample: Tensor) -> Tensor:
        """The sum of v * (J v) by the derivative graph."""
        return self._measure.run({**_inputs(sample, timestep, text), "tangents": probes})["v_dot_jv"]


def _plan(model: ir.Model, file: Path, storage: StorageDtype) -> Plan:
    save_graph(model, file, storage)
    return Plan(fuse_attention(read_graph(file)), torch.device("cpu"), Constants())


def _inputs(sample: Tensor, timestep: int, text: Tensor) -> dict[str, Tensor]:
    """The level's alpha and sigma are not read by a model that predicts eps."""
    unread = torch.zeros(len(sample))
    level = torch.full((len(sample),), float(timestep))
    repeated = text.repeat(len(sample) // len(text), 1, 1)
    return dict(zip(INPUTS, (sample, level, unread, unread, repeated), strict=True))


@dataclass(frozen=True)
class Quality:
    """Relative error of dh_uncond against float64, and local IoU."""

    error: float
    iou: float

    def __str__(self) -> str:
        return f"{self.error:.4f}, {self.iou:.3f}"


def study(states: States, exact: Mapping[int, Tensor], graphs: Graphs, probes: Tensor) -> Iterator[list[str]]:
    """A row for each timestep and method: its name, and `Quality` by step; the derivative graph has one for all.

    Args:
        exact: dh_uncond in float64 by timestep.
    """

    def quality(timestep: int, diagonal: Callable[[int, Tensor, Tensor], Tensor]) -> str:
        dh = states.dh(timestep, probes, diagonal)
        return str(Quality(relative_error(dh, exact[timestep]), states.iou(dh)))

    for timestep, sample in sorted(states.samples.items()):
        graph = quality(timestep, lambda t, text, vs, sample=sample: graphs.exact(t, text, vs, sample))
        yield [str(timestep), "derivative graph", graph]
        for name, difference in METHODS.items():
            cells = [
                quality(
                    timestep,
                    lambda t, text, vs, sample=sample, difference=difference, step=step: difference(
                        graphs.eps_at(t, text), sample, vs, step
                    ),
                )
                for step in STEPS
            ]
            yield [str(timestep), name, *cells]


def true_dh(model: Model, states: States, probes: Tensor) -> dict[int, Tensor]:
    """dh_uncond in float64 by timestep: the same estimate, by torch's forward mode."""
    unet = copy.deepcopy(model.unet).double()
    unet.set_attn_processor(AttnProcessor())

    def diagonal(timestep: int, text: Tensor, probes: Tensor) -> Tensor:
        def eps(sample: Tensor) -> Tensor:
            return unet(sample, timestep, text.double()).sample

        return forward_mode(eps, states.samples[timestep].double(), probes.double())

    with torch.no_grad():
        return {timestep: states.dh(timestep, probes, diagonal) for timestep in states.samples}


@click.command()
@click.option("--seeds", type=click.IntRange(1, len(SEEDS)), default=2, show_default=True, help="Images a caption")
@click.option("--arithmetic", type=click.Choice(list(FORMS)), multiple=True, default=list(FORMS), help="[default: all]")
def main(seeds: int, arithmetic: tuple[Arithmetic, ...]) -> None:
    """Print error and local IoU of finite differences on the testbed, by arithmetic, timestep and step."""
    torch.set_num_threads(1)
    model = Model(HOME / "pipeline", HOME / "pipeline" / "tokenizer", "cpu", torch.float32)
    captions = [caption for caption in of_kind("local") if split_of(caption) == "heldout"]
    states = trajectory(model, captions, SEEDS[:seeds])
    batch, *latent_shape = states.samples[TIMESTEPS[0]].shape
    probes = torch.from_numpy(make_probes(PROBES, tuple(latent_shape)))[:, None].expand(-1, batch, -1, -1, -1)
    exact = true_dh(model, states, probes)
    traced = trace_denoiser(EpsDenoiser(model.unet, "epsilon"), tuple(latent_shape), tuple(states.texts[0].shape[1:]))
    click.echo(f"{batch} images; float64: " + ", ".join(f"IoU {states.iou(dh):.3f} at {t}" for t, dh in exact.items()))
    for name in arithmetic:
        click.echo(f"\n{name}: relative error of dh_uncond, local IoU\n")
        click.echo(f"| t | method | {' | '.join(f'h = {step:g}' for step in STEPS)} |\n|{'---|' * (2 + len(STEPS))}")
        with tempfile.TemporaryDirectory() as folder:
            for row in study(states, exact, Graphs(traced, name, Path(folder)), probes):
                click.echo(f"| {' | '.join(row + [''] * (2 + len(STEPS) - len(row)))} |")


if __name__ == "__main__":
    main()
