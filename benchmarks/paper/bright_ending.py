"""Bright Ending on the embedded model, beside the differences of curvature on the same images.

    python -m benchmarks.paper.bright_ending --work DIR

Chen et al. (ICLR 2025): at the last step, memorized regions attend to the last token of the prompt; the map is the mean
of that attention over the heads of the first layers that have the latent's full resolution.

Here it is a straw man, and is called so: the embedded UNet has no attention at the latent's resolution of 16 x 16, its
finest is 8 x 8; all captions are short, known by heart and told apart by their text encoding as a whole, so that no
layer had to learn which token belongs where. To be generous, the best of all combinations of layers, tokens, timesteps
and sign is chosen on the calibration captions, and judged on the others.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.paper.agreement import Agreement, Maps, agreement, local_overlap, with_interval
from benchmarks.paper.embedded_scan import SEEDS, STEPS, embedded_scan
from benchmarks.paper.observed_attention import Attended, attended
from benchmarks.paper.short_training import kept
from memscan.scanner.bundle import open_bundle
from memscan.scanner.embedded import BUNDLE
from memscan.scanner.evaluation.protocol import paper_unit
from memscan.scanner.results.reader import Results
from memscan.scanner.sampling.schedule import noise_level
from testbed import plots as figures
from testbed.captions import CAPTIONS, Caption, split_of
from testbed.dataset import masks
from testbed.scanning import step_indices

LAST = 1
TIMESTEPS = (LAST, 201, 401)
LAYERS = {
    "down 8x8": ("down_blocks.1.attentions.0",),
    "up 8x8": ("up_blocks.1.attentions.0", "up_blocks.1.attentions.1"),
    "middle 4x4": ("down_blocks.2.attentions.0", "mid_block.attentions.0", "up_blocks.0.attentions.0"),
}
TOKENS = ("last", "end", "start", "words")
BATCH = 13
SHOWN = ("dazzle team jersey with artwork", "midnight parade record sleeve", "winter market gift box")


@dataclass(frozen=True)
class Choice:
    """Which attention makes the map."""

    layers: str
    token: str
    timestep: int
    bright: bool = True

    def __str__(self) -> str:
        return f"{self.layers}, {self.token} token, t = {self.timestep}, {'bright' if self.bright else 'dark'}"


PUBLISHED = Choice("down 8x8", "last", LAST)
CHOICES = [Choice(*each) for each in itertools.product(LAYERS, TOKENS, TIMESTEPS, (True, False))]


def attention_map(found: Attended, choice: Choice) -> Tensor:
    """The map of a choice, [N, h, w] in [0, 1]."""
    layers = torch.stack([found.maps[name] for name in LAYERS[choice.layers]]).mean(dim=0)  # [N, h, w, S]
    weights = token_weights(found.ids, choice.token)
    values = torch.einsum("nhws,ns->nhw", layers, weights)
    return values if choice.bright else 1 - values


def token_weights(ids: Tensor, token: str) -> Tensor:
    """[N, S]: 1 at a token, or equal shares of the words between start and end; padding repeats the end token."""
    places = torch.arange(ids.shape[1]).expand_as(ids)
    end = (ids == ids[:, -1:]).int().argmax(dim=1, keepdim=True)
    chosen = {
        "last": places == ids.shape[1] - 1,
        "end": places == end,
        "start": places == 0,
        "words": (places > 0) & (places < end),
    }[token].float()
    return chosen / chosen.sum(dim=1, keepdim=True)


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder of the scan.")
@click.option("--out", type=click.Path(path_type=Path), default=figures.FIGURES, show_default=True)
def main(work: Path, out: Path) -> None:
    """Compare the maps on the held-out captions and draw some of them."""
    torch.set_num_threads(1)
    images = [(row, seed) for row in range(len(CAPTIONS)) for seed in SEEDS]
    captions = [CAPTIONS[row] for row, _ in images]
    attention = _all_maps(images)
    calibration, heldout = (
        [index for index, caption in enumerate(captions) if split_of(caption) == split]
        for split in ("calibration", "heldout")
    )
    chosen = max(CHOICES, key=lambda choice: _local_iou(attention[choice], captions, calibration))
    click.echo(f"chosen on the calibration captions: {chosen}\n")
    compared = {"Bright Ending": attention[PUBLISHED], "its best choice": attention[chosen]}
    compared |= _scanned(embedded_scan(work), images)
    judged = [captions[index] for index in heldout]
    figures_of = {name: agreement(maps[heldout], judged) for name, maps in compared.items()}
    ones = float(np.mean([masks(caption).memorized for caption in judged if caption.kind == "local"]))
    click.echo(f"held-out captions, {len(SEEDS)} seeds; a mask of ones: local IoU {ones:.3f}\n")
    click.echo("| map | local IoU [95%] | AUC of the mean [95%] |\n|---|---|---|")
    for name, one in figures_of.items():
        auc = with_interval(one.found.auc, one.found.interval)
        click.echo(f"| {name} | {with_interval(one.local.iou, one.local.iou_interval)} | {auc} |")
    _draw(compared, captions, figures_of, ones, out / "bright-ending.png")


def _all_maps(images: list[tuple[int, int]]) -> dict[Choice, Maps]:
    """Of every choice, [N, h, w]."""
    model, guidance = kept("pipeline"), open_bundle(BUNDLE).defaults.guidance_scale
    parts: dict[Choice, list[NDArray[np.float64]]] = {choice: [] for choice in CHOICES}
    for first in range(0, len(images), BATCH):
        batch = images[first : first + BATCH]
        prompts = [CAPTIONS[row].prompt for row, _ in batch]
        for found in attended(model, prompts, [seed for _, seed in batch], guidance, STEPS, TIMESTEPS):
            for choice in CHOICES:
                if choice.timestep == found.timestep:
                    parts[choice].append(attention_map(found, choice).double().numpy())
    return {choice: np.concatenate(each) for choice, each in parts.items()}


def _scanned(results: Results, images: list[tuple[int, int]]) -> dict[str, Maps]:
    """memscan's maps of the same images in the paper's unit."""
    schedule, indices = open_bundle(BUNDLE).schedule, step_indices(results)
    found = {}
    for name, timestep in (("ds_uncond", 201), ("dh_uncond", LAST), ("dh_uncond", 201), ("dh_base", 201)):
        maps = results.maps(name, indices[timestep], images)
        sigma = noise_level(schedule, timestep).sigma
        found[f"{name}, t = {timestep}"] = paper_unit(name, maps, results.latent_channels, sigma)
    return found


def _local_iou(maps: Maps, captions: list[Caption], chosen: list[int]) -> float:
    return local_overlap(maps[chosen], [captions[index] for index in chosen]).iou


def _draw(
    compared: dict[str, Maps], captions: list[Caption], figures_of: dict[str, Agreement], ones: float, path: Path
) -> None:
    shown = {"truth": None} | {
        name: compared[name] for name in ("Bright Ending", "its best choice", "dh_uncond, t = 201")
    }
    mosaic = [[f"{name} {row}" for name in shown] + ["bars"] for row in range(len(SHOWN))]
    figure, axes_of = figures.new_figure(9.0, 3.6, mosaic, width_ratios=[1] * len(shown) + [3.2])
    for row, prompt in enumerate(SHOWN):
        index = next(index for index, caption in enumerate(captions) if caption.prompt == prompt)
        for name, maps in shown.items():
            values = masks(captions[index]).memorized if maps is None else maps[index]
            title = name.replace(", ", "\n") if row == 0 else ""
            figures.show_map(axes_of[f"{name} {row}"], values, title, cmap=figures.HEAT)
    axes = axes_of["bars"]
    for place, one in enumerate(figures_of.values()):
        low, high = one.local.iou_interval or (one.local.iou, one.local.iou)
        colour = figures.GREY if place < 2 else figures.BLUE
        axes.barh(place, one.local.iou, color=colour, height=0.65)
        axes.plot([low, high], [place, place], color=figures.BLACK, linewidth=1.2)
    axes.axvline(ones, color=figures.RED, linestyle="--", linewidth=1, label="a mask of ones")
    axes.set_yticks(range(len(figures_of)), list(figures_of))
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="local IoU, held-out captions")
    axes.legend(loc="upper right")
    figures.save(figure, path)
    click.echo(f"\n{path}")


if __name__ == "__main__":
    main()
