"""How much the less-trained baseline matters to dh_base (the paper's App. E.2), on the embedded model.

    python -m benchmarks.paper.baseline_sensitivity --work DIR

The target is the embedded model; baselines are denoisers from other moments of its training: untrained, 1% of
it (trained here from nothing), the kept checkpoint at 25%, and that one trained on to 26%, where the memorized
captions have come to their full share (see short_training). The target gives the trajectory, ten steps of DDIM, and
both terms share memscan's eight Hadamard probes, by reverse mode in torch. Held-out captions.
"""

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer

from benchmarks.paper.agreement import Agreement, agreement, with_interval
from benchmarks.paper.short_training import Denoiser, denoisers, kept
from memscan.scanner.bundle import open_bundle
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.evaluation.protocol import paper_unit
from memscan.scanner.metrics.probes import make_probes
from memscan.scanner.sampling.schedule import noise_level
from memscan.scanner.settings import Probes
from testbed import plots as figures
from testbed.captions import CAPTIONS, Caption, split_of
from testbed.cells import cover
from testbed.dataset import masks
from testbed.regions import REGIONS
from testbed.tables import HOME
from testbed.text import token_ids

SEEDS = (11,)
STEPS, TIMESTEP = 10, 201
BATCH = 13
TARGET = 1.0

Maps = NDArray[np.float64]  # [N, h, w]


@dataclass(frozen=True)
class Images:
    """States x_t at the measured timestep, [N, C, h, w], and the prompts' token ids [N, S]."""

    captions: tuple[Caption, ...]
    states: Tensor
    ids: Tensor


@dataclass(frozen=True)
class Baseline:
    """One baseline: mean of its h on cells wholly in a region of local images; None for the target itself."""

    share: float
    regions: dict[str, float]
    agreement: Agreement | None


def diagonal(model: Denoiser, images: Images, probes: Tensor) -> Tensor:
    """Hutchinson's estimate of diag(J) given the prompts, (1/K) sum_k v_k * (J^T v_k): [N, C, h, w]."""
    found = []
    for x, ids in zip(images.states.split(BATCH), images.ids.split(BATCH), strict=True):
        sample = x.clone().requires_grad_(True)
        eps = model.unet(sample, TIMESTEP, model.text_encoder(ids).last_hidden_state).sample
        total = torch.zeros_like(sample)
        for probe in probes:
            total += probe * torch.autograd.grad(eps, sample, probe.expand_as(eps), retain_graph=True)[0]
        found.append(total / len(probes))
    return torch.cat(found)


@torch.no_grad()
def generated(model: Denoiser, captions: tuple[Caption, ...], guidance: float) -> Images:
    """The states on the way of DDIM, every caption with every seed."""
    chosen = tuple(caption for caption in captions for _ in SEEDS)
    ids = token_ids(AutoTokenizer.from_pretrained(HOME / "pipeline" / "tokenizer"), [*(c.prompt for c in chosen), ""])
    scheduler = DDIMScheduler.from_pretrained(HOME / "pipeline" / "scheduler")
    scheduler.set_timesteps(STEPS)
    shape = (1, model.unet.config.in_channels, model.unet.config.sample_size, model.unet.config.sample_size)
    x = torch.cat(
        [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for _ in captions for seed in SEEDS]
    )
    parts = []
    for first in range(0, len(chosen), BATCH):
        part, prompts = x[first : first + BATCH], ids[first : first + BATCH]
        prompts = prompts[: len(part)]
        states = model.text_encoder(torch.cat([ids[-1:].expand_as(prompts), prompts])).last_hidden_state
        for timestep in scheduler.timesteps.tolist():
            if timestep == TIMESTEP:
                break
            eps_0, eps_c = model.unet(torch.cat([part, part]), timestep, states).sample.chunk(2)
            part = scheduler.step(eps_0 + guidance * (eps_c - eps_0), timestep, part).prev_sample
        parts.append(part)
    return Images(chosen, torch.cat(parts), ids[:-1])


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder of the trained denoisers.")
@click.option("--out", type=click.Path(path_type=Path), default=figures.FIGURES, show_default=True)
def main(work: Path, out: Path) -> None:
    """Train the baselines that are missing, print what each is worth, and draw it."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    bundle, target = open_bundle(BUNDLE), kept("pipeline")
    sigma = noise_level(bundle.schedule, TIMESTEP).sigma
    heldout = tuple(caption for caption in CAPTIONS if split_of(caption) == "heldout")
    images = generated(target, heldout, bundle.defaults.guidance_scale)
    channels = images.states.shape[1]
    probes = torch.as_tensor(make_probes(Probes(), tuple(images.states.shape[1:])))
    h_target = _collapse(target, images, probes, sigma)
    click.echo(f"{len(images.captions)} images, t = {TIMESTEP}\n")
    click.echo("| share of the training | dh_base local IoU [95%] | AUC [95%] | h " + " | h ".join(REGIONS) + " |")
    click.echo("|---|---|---|---|---|---|")
    found = []
    for share, model in denoisers(work):
        h = h_target if share == TARGET else _collapse(model, images, probes, sigma)
        maps = paper_unit("dh_base", h_target - h, channels, sigma)
        worth = None if share == TARGET else agreement(maps, images.captions)
        found.append(Baseline(share, region_means(h, images.captions), worth))
        click.echo(_line(found[-1]))
    _draw(found, out / "baseline-sensitivity.png")


def region_means(h: Maps, captions: tuple[Caption, ...]) -> dict[str, float]:
    """Mean of maps over the cells that lie wholly in each region of the local images."""
    means = {}
    for region in REGIONS:
        inside = np.stack(
            [(cover(getattr(masks(c), region), h.shape[1:]) == 1) & (c.kind == "local") for c in captions]
        )
        means[region] = float(h[inside].mean())
    return means


def _collapse(model: Denoiser, images: Images, probes: Tensor, sigma: float) -> Maps:
    return sigma * diagonal(model, images, probes).mean(dim=1).double().numpy()


def _line(found: Baseline) -> str:
    cells = ["the target", ""]
    if found.agreement:
        local, detected = found.agreement.local, found.agreement.found
        cells = [with_interval(local.iou, local.iou_interval), with_interval(detected.auc, detected.interval)]
    means = [f"{found.regions[region]:.3f}" for region in REGIONS]
    return f"| {found.share:.0%} | " + " | ".join([*cells, *means]) + " |"


def _draw(found: list[Baseline], path: Path) -> None:
    figure, axes_of = figures.new_figure(8.4, 2.9, [["worth", "regions"]])
    baselines = [one for one in found if one.agreement]
    places = np.arange(len(found))
    axes = axes_of["worth"]
    for label, colour, marker, values in (
        ("AUC", figures.ORANGE, "s", [(one.agreement.found.auc, one.agreement.found.interval) for one in baselines]),
        (
            "local IoU",
            figures.BLUE,
            "o",
            [(one.agreement.local.iou, one.agreement.local.iou_interval) for one in baselines],
        ),
    ):
        axes.plot(places[: len(values)], [value for value, _ in values], marker + "-", color=colour, label=label)
        for place, (_, interval) in enumerate(values):
            axes.plot([place, place], interval, color=colour, linewidth=1)
    axes.set_xticks(places[: len(baselines)], [f"{one.share:.0%}" for one in baselines])
    axes.set(xlabel="baseline: share of the training", title=f"dh_base, held-out captions, t = {TIMESTEP}")
    axes.set_ylim(0, 1.03)
    axes.legend(loc="lower left")
    axes = axes_of["regions"]
    for region, colour, marker in zip(REGIONS, (figures.RED, figures.BLUE, figures.GREY), "o^s", strict=True):
        axes.plot(places, [one.regions[region] for one in found], marker + "-", color=colour, label=region)
    axes.set_xticks(places, [f"{one.share:.0%}" for one in found])
    axes.set(xlabel="share of the training (100%: the target)", ylabel="h, mean", title="collapse, local images")
    axes.set_ylim(0, 1.03)
    axes.legend(loc="lower right")
    figures.save(figure, path)
    click.echo(f"\n{path}")


if __name__ == "__main__":
    main()
