"""What conditional curvature alone gets wrong, and what each difference repairs (the paper's Fig. 3).

    python -m benchmarks.paper.curvature_against_difference --work DIR [--timestep 201]

On the embedded testbed every local image has three regions: memorized, free, and *intrinsic*, which is the same in all
pictures of its product and collapses for every model, the hardly trained one too. Curvature alone cannot tell the
intrinsic from the memorized; a difference should. Held-out captions, two seeds; intervals are bootstrapped over
captions. The AUC between regions is over latent cells that lie wholly in one region of a local image: the chance that
a memorized cell has a greater value than one of the other region.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from benchmarks.paper.agreement import with_interval
from benchmarks.paper.embedded_scan import TIMESTEPS, embedded_scan
from memscan.scanner.embedded import GROUND_TRUTH
from memscan.scanner.evaluation.detection import Detection, detection
from memscan.scanner.evaluation.evaluate import Record, evaluate
from memscan.scanner.evaluation.ground_truth import read_ground_truth
from memscan.scanner.metrics.catalogue import MAPS
from memscan.scanner.results.reader import Results
from testbed import plots as figures
from testbed.captions import CAPTIONS, Caption, split_of
from testbed.cells import cover
from testbed.dataset import masks
from testbed.scanning import image_keys, prompts_of, step_indices

ORDER = ("h_cond", "dh_uncond", "dh_base", "ds_uncond", "ds_base")
KINDS = ("local", "all")
OTHERS = ("intrinsic", "free")
SHOWN = {"global": "the night owl album cover", "local": "majolica plate from faenza", "none": "a plate"}


@dataclass(frozen=True)
class Separation:
    """How well a map tells memorized cells from those of another region, on held-out local images."""

    map: str
    other: str
    found: Detection


def separations(results: Results, timestep: int) -> list[Separation]:
    """Of every map and both other regions, at one timestep."""
    captions = {caption.prompt: caption for caption in CAPTIONS}
    prompts = prompts_of(results)
    keys = [key for key in image_keys(results) if _judged(captions[prompts[key[0]]])]
    shown = [captions[prompts[row]] for row, _ in keys]
    index = step_indices(results)[timestep]
    found = []
    for name in ORDER:
        maps = results.maps(name, index, keys).astype(np.float64)
        found += [Separation(name, other, separation(maps, shown, other)) for other in OTHERS]
    return found


def separation(maps: NDArray[np.float64], captions: list[Caption], other: str) -> Detection:
    """AUC of the values of memorized cells against those of another region; maps [N, h, w] of these captions.

    Raises:
        ValueError: no cell lies wholly in one of the two.
    """
    values, memorized, owners = [], [], []
    for one, caption in zip(maps, captions, strict=True):
        regions = masks(caption)
        for region, is_memorized in ((regions.memorized, True), (getattr(regions, other), False)):
            inside = one[cover(region, one.shape) == 1]
            values.append(inside)
            memorized.append(np.full(len(inside), is_memorized))
            owners.append(np.full(len(inside), CAPTIONS.index(caption)))
    found = detection(np.concatenate(values), np.concatenate(memorized), np.concatenate(owners))
    if found is None:
        raise ValueError(f"no cell lies wholly in memorized or {other} regions")
    return found


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder of the scan.")
@click.option("--timestep", type=click.Choice([str(t) for t in TIMESTEPS]), default="201", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=figures.FIGURES, show_default=True)
def main(work: Path, timestep: str, out: Path) -> None:
    """Print IoU and AUC by kind, the AUC between regions, and draw examples at one timestep."""
    results = embedded_scan(work)
    assert set(ORDER) == set(MAPS)
    records = evaluate(results, read_ground_truth(str(GROUND_TRUTH)), "heldout").records
    for at in TIMESTEPS:
        for line in _lines(records, separations(results, at), at):
            click.echo(line)
    found = separations(results, int(timestep))
    _draw(results, int(timestep), found, records, out / "curvature-against-difference.png")


def _judged(caption: Caption) -> bool:
    return caption.kind == "local" and split_of(caption) == "heldout"


def _lines(records: tuple[Record, ...], found: list[Separation], timestep: int) -> Iterator[str]:
    yield f"\nt = {timestep}, oracle protocol; AUC by the mean of the map, and between regions of local images\n"
    yield "| map | IoU local | all kinds | AUC local | AUC global | memorized over intrinsic | over free |"
    yield "|" + "---|" * 7
    for name in ORDER:
        by_kind = {
            one.kind: one for one in records if (one.map, one.timestep, one.protocol) == (name, timestep, "oracle")
        }
        cells = [_iou(by_kind[kind]) for kind in KINDS]
        cells += [_auc(by_kind[kind]) for kind in ("local", "global")]
        cells += [with_interval(one.found.auc, one.found.interval) for one in found if one.map == name]
        yield f"| {name} | " + " | ".join(cells) + " |"


def _iou(record: Record) -> str:
    ends = None if record.iou_low is None or record.iou_high is None else (record.iou_low, record.iou_high)
    return with_interval(record.iou if record.iou is not None else float("nan"), ends)


def _auc(record: Record) -> str:
    ends = None if record.auc_low is None or record.auc_high is None else (record.auc_low, record.auc_high)
    return with_interval(record.auc if record.auc is not None else float("nan"), ends)


def _draw(results: Results, timestep: int, found: list[Separation], records: tuple[Record, ...], path: Path) -> None:
    shown = ("image", "truth", "h_cond", "dh_uncond", "dh_base", "ds_uncond")
    mosaic = [[f"{kind} {name}" for name in shown] + ["bars"] for kind in SHOWN]
    figure, axes_of = figures.new_figure(9.6, 3.7, mosaic, width_ratios=[1] * len(shown) + [3.0])
    rows = {prompt: row for row, prompt in prompts_of(results).items()}
    index = step_indices(results)[timestep]
    for kind, prompt in SHOWN.items():
        key = next(key for key in image_keys(results) if key[0] == rows[prompt])
        caption = next(caption for caption in CAPTIONS if caption.prompt == prompt)
        image = results.image(*key)
        for name in shown:
            axes = axes_of[f"{kind} {name}"]
            title = name if kind == "global" else ""
            if name == "image":
                figures.show_map(axes, image, title)
                axes.set_ylabel(kind)
            elif name == "truth":
                figures.show_map(axes, masks(caption).memorized, title, cmap=figures.HEAT, vmin=0, vmax=1)
            else:
                values = results.maps(name, index, [key])[0].astype(np.float64)
                top = 1.0 if name == "h_cond" else _greatest(results, index, name)
                figures.show_map(axes, values, title, cmap=figures.HEAT, vmin=0, vmax=top)
    _bars(axes_of["bars"], found, records, timestep)
    figures.save(figure, path)
    click.echo(f"\n{path}")


def _greatest(results: Results, index: int, name: str) -> float:
    return float(np.quantile(results.maps(name, index, image_keys(results)).astype(np.float64), 0.99))


def _bars(axes: Axes, found: list[Separation], records: tuple[Record, ...], timestep: int) -> None:
    oracle = {
        one.map: one for one in records if (one.timestep, one.kind, one.protocol) == (timestep, "local", "oracle")
    }
    rows = {
        "local IoU": {name: (oracle[name].iou, (oracle[name].iou_low, oracle[name].iou_high)) for name in ORDER},
        "AUC, memorized over intrinsic cells": {
            one.map: (one.found.auc, one.found.interval) for one in found if one.other == "intrinsic"
        },
    }
    height = 0.38
    for offset, (label, values), colour in zip((-0.5, 0.5), rows.items(), (figures.BLUE, figures.ORANGE), strict=True):
        for place, name in enumerate(ORDER):
            value, interval = values[name]
            y = place + offset * height
            axes.barh(y, value, color=colour, height=height * 0.9, label=label if place == 0 else None)
            axes.plot(interval, [y, y], color=figures.BLACK, linewidth=1.2)
    axes.set_yticks(range(len(ORDER)), ORDER)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.02), xlabel=f"held-out local captions, t = {timestep}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0))


if __name__ == "__main__":
    main()
