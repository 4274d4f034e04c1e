"""Everything that a bench says of its trained models: measure, judge, print, write and draw."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from memscan.scanner.metrics.catalogue import MAPS, METRICS
from memscan.scanner.results.schema import SCORE_COLUMNS
from testbed.bench.combination import combined
from testbed.bench.heldout import Judged, Variant, judged
from testbed.bench.measured import Measured, measured, pooled
from testbed.bench.model import Model
from testbed.bench.report import DRAWN, best_columns, draw, markdown
from testbed.bench.response import Figure, figures, lines, telling_lines, write
from testbed.bench.scans import MEASURED, measuring_scan


def measure(models: Sequence[Model], labels: Sequence[str], metrics: Sequence[str]) -> dict[Variant, Measured]:
    """The images of some trainings, measured against each of the baselines `labels`, at every timestep.

    What needs no baseline is measured with the first alone.
    """
    found: dict[Variant, Measured] = {}
    for label in labels:
        differences = tuple(name for name in metrics if METRICS[name].needs_baseline)
        names = tuple(metrics) if label == labels[0] else differences
        scans = [measuring_scan(model, model.baselines[label], names) for model in models]
        for timestep in models[0].sampling.timesteps:
            maps = [name for name in names if name in MAPS]
            images = pooled([measured(m, scan, timestep, maps) for m, scan in zip(models, scans, strict=True)])
            if label == labels[0]:
                found[Variant(None, timestep)] = of_metrics(images, needs_baseline=False)
            found[Variant(label, timestep)] = of_metrics(images, needs_baseline=True)
    return found


def of_metrics(images: Measured, needs_baseline: bool) -> Measured:
    """The scores and maps of the metrics that need a baseline, or of those that do not."""
    return dataclasses.replace(
        images,
        scores={n: v for n, v in images.scores.items() if SCORE_COLUMNS[n].needs_baseline == needs_baseline},
        maps={n: v for n, v in images.maps.items() if METRICS[n].needs_baseline == needs_baseline},
        truth={n: v for n, v in images.truth.items() if METRICS[n].needs_baseline == needs_baseline},
    )


def together(variants: dict[Variant, Measured], label: str, timestep: int) -> Measured:
    """All scores and maps at one timestep, against one baseline."""
    parts = [variants[Variant(baseline, timestep)] for baseline in (None, label)]
    merged = {name: parts[0].__dict__[name] | parts[1].__dict__[name] for name in ("scores", "maps", "truth")}
    return dataclasses.replace(parts[0], **merged)


def write_judged(found: Sequence[Judged], file: Path) -> None:
    """What held-out captions say, as CSV."""
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [field.name for field in dataclasses.fields(Judged)])
        writer.writeheader()
        for one in found:
            trainings = " ".join(f"{value:.4g}" for value in one.trainings)
            row = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in vars(one).items()}
            writer.writerow(row | {"trainings": trainings})


def assess(models: Sequence[Model], out: Path, labels: Sequence[str], metrics: Sequence[str] = MEASURED) -> None:
    """Print all tables of some trainings together; leave `out`.csv, `out`-heldout.csv and `out`.png."""
    variants = measure(models, labels, metrics)
    timesteps = models[0].sampling.timesteps
    found: list[Figure] = []
    for timestep in timesteps:
        found += figures(together(variants, labels[0], timestep), timestep)
    write(found, out.with_name(f"{out.name}.csv"))
    for timestep in timesteps:
        print(f"\nt = {timestep}, copied in half of the seeds against never, all captions")
        print("\n".join(telling_lines(found, timestep, "all")))
        for what, kinds in (
            ("iou", ("local",)),
            ("dose", ("global", "local", "rare")),
            ("response", ("global", "local")),
        ):
            for kind in kinds:
                print(f"\n{what}, {kind}")
                print("\n".join(lines(found, what, timestep, kind)))
    verdict = [*judged(variants), *combined(variants)]
    write_judged(verdict, out.with_name(f"{out.name}-heldout.csv"))
    print(f"\nheld-out captions of {len(models)} training{'s' * (len(models) > 1)}\n")
    print("\n".join(markdown(verdict)))
    draw(found, list(best_columns(verdict).values())[:DRAWN], timesteps[0], out.with_name(f"{out.name}.png"))
