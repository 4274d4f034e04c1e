"""Probes and noise levels: error, IoU and AUC of dh_uncond beside what they cost.

    python -m benchmarks.probes --work DIR [--graded BUNDLE --seed S]

Ten steps of DPM-Solver++, the last of the four timesteps taking the place of the nearest steps. Everything follows from
products that are computed once and kept in DIR: a minute of a core for the embedded model, and 15 seconds more for each
whole Jacobian (`--whole`). A call goes on from what it finds there. docs/probes.md says what follows.
"""

from collections.abc import Iterator
from pathlib import Path

import click

from benchmarks.images import graded_images, testbed_images
from benchmarks.probes import choices, counts, noise_levels, variance, whole
from benchmarks.probes.cost import tangent_passes
from benchmarks.probes.draw import draw
from benchmarks.probes.judge import Truth
from benchmarks.probes.study import Study, chosen
from memscan.scanner.bundle import open_bundle
from memscan.scanner.embedded import BUNDLE
from testbed import plots as figures


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Keeps what is computed.")
@click.option("--graded", type=click.Path(path_type=Path, exists=True), help="A graded training's bundle instead.")
@click.option("--seed", default=0, show_default=True, help="Of the graded training.")
@click.option("--whole", "wholes", default=2, show_default=True, help="Images whose whole Jacobian is computed.")
@click.option("--out", type=click.Path(path_type=Path), default=figures.FIGURES, show_default=True, help="Of figures.")
def main(work: Path, graded: Path | None, seed: int, wholes: int, out: Path) -> None:
    """Print the tables of the embedded model, or of a graded training, and draw the figure."""
    bundle, images = (
        (open_bundle(BUNDLE), testbed_images()) if graded is None else (open_bundle(graded), graded_images(seed))
    )
    name = "testbed" if graded is None else graded.name
    study = Study(bundle, chosen(images), work / name)
    truth = Truth.of(study.images)
    costs = ", ".join(f"{kind} {tangent_passes(bundle, kind):.3f}" for kind in counts.KINDS)
    click.echo(f"{name}: {len(study.images)} images; passes a tangent: {costs}")
    found = list(counts.counted(study, truth))
    _print("How many probes", counts.lines(found))
    draw(found, out / f"probes-{name}.png")
    _print("Which colouring", choices.lines(study, truth))
    _print("Which noise level, and what is free", noise_levels.lines(study, truth))
    _print("Less variance", variance.lines(study, truth))
    held_out = [index for index, image in enumerate(study.images) if image.kind == "local" and image.held_out]
    if wholes:
        _print(f"Beside the exact diagonal, {wholes} images", whole.lines(study, held_out[:wholes]))


def _print(title: str, lines: Iterator[str]) -> None:
    click.echo(f"\n## {title}\n")
    for line in lines:
        click.echo(line)


if __name__ == "__main__":
    main()
