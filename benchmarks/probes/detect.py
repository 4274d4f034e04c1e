"""Detection on a graded training: scores that sampling gives for nothing beside those that need a derivative.

    python -m benchmarks.probes.detect --work DIR --graded BUNDLE --seed S [--strengths FILE]

One image each of the captions shown 64 times or more, against captions that are as rare but whose pictures are never
repeated; with strengths, those alone that copy in at least half of 32 seeds against those that never do. AUC with
intervals over captions, and its difference to dh_uncond's 90% quantile in the same draws. Then the number of probes, as
`python -m benchmarks.probes` has it for the embedded model.
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.images import graded_images
from benchmarks.probes import counts
from benchmarks.probes.colourings import HOUSE, span
from benchmarks.probes.cost import beyond_sampling
from benchmarks.probes.judge import Truth
from benchmarks.probes.noise_levels import FIRST, ds_uncond
from benchmarks.probes.study import FEW, TIMESTEP, Study
from memscan.scanner.bundle import open_bundle
from memscan.scanner.evaluation.detection import Detection, detection
from memscan.scanner.evaluation.overlap import percentile_interval
from memscan.scanner.metrics.smoothing import smoothed
from testbed.graded.captions import COUNTS

Array = NDArray[np.floating[Any]]
SHOWN = tuple(count for count in COUNTS if count >= 64)
STANDARD = "dh_uncond, shallow, 8 probes: 90% quantile"
COPIED = 0.5
"""Share of a prompt's seeds that makes it memorized, where strengths are given."""
SUMMARIES: dict[str, Callable[[Array], Array]] = {
    "mean": lambda maps: maps.mean(axis=(1, 2)),
    "90% quantile": lambda maps: np.quantile(maps.reshape(len(maps), -1), 0.9, axis=1),
    "maximum": lambda maps: maps.max(axis=(1, 2)),
}


def scores(study: Study) -> Iterator[tuple[str, float, Array]]:
    """Name, forward passes beyond sampling, and the score [N]."""
    differences = study.drawn.differences
    norms = np.stack([np.linalg.norm(one.reshape(len(one), -1), axis=1) for one in differences.values()])
    yield "guidance norm, first step", 0, norms[0]
    yield "guidance norm, mean of all steps", 0, norms.mean(axis=0)
    late = [timestep for timestep in differences if timestep < FIRST]
    accumulated = ds_uncond(study, late).mean(axis=0)
    maps = {
        f"ds_uncond, t = {TIMESTEP}": (0.0, ds_uncond(study, [TIMESTEP])[0]),
        "ds_uncond, mean of the late steps": (0.0, accumulated),
        "the same, mean of 3 x 3": (0.0, smoothed(accumulated, 3)),
        "ds_uncond, mean of all steps": (0.0, ds_uncond(study, list(differences)).mean(axis=0)),
    }
    prompt, none = (study.few("shallow", condition, TIMESTEP) for condition in ("prompt", "none"))
    for count in (1, 4, 8):
        rows = [FEW.index(row) for row in span(HOUSE[count])]
        cost = beyond_sampling(study.bundle, "shallow", count)
        maps[f"dh_uncond, shallow, {count} probes"] = cost, (prompt - none)[rows].mean(axis=0)
    own, early = (study.lattice(8, "shallow", condition, seed=0) for condition in ("prompt", "baseline"))
    of_baseline = beyond_sampling(study.bundle, "shallow", 8) + 1  # no step of sampling asks the baseline for eps
    maps["dh_base, shallow, 8 lattice probes"] = of_baseline, (own - early).mean(axis=0)
    maps["h_cond, shallow, 8 probes"] = beyond_sampling(study.bundle, "shallow", len(FEW)) / 2, prompt.mean(axis=0)
    for name, (cost, values) in maps.items():
        for summary, of in SUMMARIES.items():
            yield f"{name}: {summary}", cost, of(values)


def kinds_of(study: Study, strengths: Path | None) -> NDArray[np.str_]:
    """The kind [N] of each image; "unsure" where the prompt of a repeated picture copies it in less than half of its
    seeds, or that of fresh pictures copies anything.
    """
    kinds = np.array([image.kind for image in study.images], object)
    if strengths is not None:
        with strengths.open(newline="") as file:
            rows = {row["prompt"]: row for row in csv.DictReader(file)}
        for index, image in enumerate(study.images):
            row = rows[image.prompt]
            sure = float(row["any"]) == 0 if image.kind == "none" else float(row["strength"]) >= COPIED
            kinds[index] = image.kind if sure else "unsure"
    return kinds.astype(str)


def lines(study: Study, kinds: NDArray[np.str_]) -> Iterator[str]:
    """The table, of all kinds together and of each."""
    yield ", ".join(f"{(kinds == kind).sum()} {kind}" for kind in ("local", "global", "none", "unsure")) + " images\n"
    found = {name: (cost, _detected(score, kinds)) for name, cost, score in scores(study)}
    yield "| score | passes beyond sampling | AUC | less dh_uncond | AUC, local | AUC, global |"
    yield "|---|---|---|---|---|---|"
    standard = found[STANDARD][1]["all"]
    for name, (cost, by_kind) in found.items():
        one = by_kind["all"]
        if one.replicates is None or standard.replicates is None or one.interval is None:
            raise ValueError("an interval needs two captions on each side")
        low, high = percentile_interval(one.replicates.auc - standard.replicates.auc)
        yield (
            f"| {name} | {cost:.2f} | {one.auc:.3f} [{one.interval[0]:.3f}, {one.interval[1]:.3f}] | "
            f"{one.auc - standard.auc:+.3f} [{low:+.3f}, {high:+.3f}] | "
            f"{by_kind['local'].auc:.3f} | {by_kind['global'].auc:.3f} |"
        )


def _detected(score: Array, kinds: NDArray[np.str_]) -> dict[str, Detection]:
    found = {}
    for name in ("all", "local", "global"):
        among = np.isin(kinds, (name, "none") if name != "all" else ("local", "global", "none"))
        one = detection(score[among], kinds[among] != "none", np.flatnonzero(among))
        if one is None:
            raise ValueError(f"no memorized image of kind {name}, or no other")
        found[name] = one
    return found


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Keeps what is computed.")
@click.option("--graded", type=click.Path(path_type=Path, exists=True), required=True, help="A training's bundle.")
@click.option(
    "--strengths", type=click.Path(path_type=Path, exists=True), help="What testbed.graded.strength has left."
)
@click.option("--seed", default=0, show_default=True, help="Of the training.")
def main(work: Path, graded: Path, strengths: Path | None, seed: int) -> None:
    """Print the tables of one graded training: detection, and the number of probes by the shallow derivative."""
    study = Study(open_bundle(graded), graded_images(seed, SHOWN), work / f"detect-{graded.name}")
    click.echo(graded.name)
    for line in lines(study, kinds_of(study, strengths)):
        click.echo(line)
    click.echo("")
    for line in counts.lines(list(counts.counted_shallow(study, Truth.of(study.images)))):
        click.echo(line)


if __name__ == "__main__":
    main()
