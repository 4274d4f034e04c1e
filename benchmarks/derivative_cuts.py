"""Which paths of the denoiser carry the diagonal of its Jacobian: cuts of the derivative beside the exact one.

    python -m benchmarks.derivative_cuts --work DIR [--graded FOLDER | --flow FOLDER]

For every cut and timestep: what 8 probes cost in forward passes; the share of the diagonal that is left (h of the
prompt), correlation and scale of every map that uses a diagonal against the same map by the exact derivative, all with
16 Hadamard probes, so that what differs is the cut alone; then what a user gets with 8: IoU on held-out captions at the
threshold that is best on the others, and AUC of memorized against not memorized captions. Last, the number of probes.
docs/derivative.md says what follows.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.cut_benches import Bench, flow_bench, graded_bench, testbed_bench
from benchmarks.cut_diagonals import Array, Study
from memscan.export.autodiff.cut import CUTS, Cut
from memscan.export.certificate.agreement import agreement
from memscan.scanner.calibration.thresholds import best_threshold
from memscan.scanner.evaluation.detection import detection
from memscan.scanner.settings import Probes

STUDIED = {
    "exact": CUTS["exact"],
    "attention weights held": Cut(hold_weights=True),
    "statistics held": Cut(hold_statistics=True),
    "frozen: both held": CUTS["frozen"],
    "no transformer blocks": Cut(transformers=False),
    "two resolutions": Cut(levels=2),
    "two, no transformers, held": Cut(levels=2, transformers=False, hold_statistics=True),
    "full resolution": Cut(levels=1),
    "full, frozen": Cut(levels=1, hold_weights=True, hold_statistics=True),
    "full, no transformers": Cut(levels=1, transformers=False),
    "shallow: and statistics held": CUTS["shallow"],
}
OF_TRANSFORMERS = {
    **{name: STUDIED[name] for name in ("exact", "attention weights held", "statistics held", "frozen: both held")},
    "frozen, attention of the first half": Cut(attention=(0, 0.5), hold_weights=True, hold_statistics=True),
    "frozen, attention of the second half": Cut(attention=(0.5, 1), hold_weights=True, hold_statistics=True),
    "no attention": Cut(attention=(0, 0)),
    "no attention, statistics held": Cut(attention=(0, 0), hold_statistics=True),
}
"""Cuts of a denoiser without downsampling, whose every value is in a transformer block."""
MANY, USUAL = Probes(count=16), Probes(count=8)
COUNTS = (1, 2, 4, 8, 16, 64)
LESS = {"h_cond": None, "dh_uncond": "none", "dh_base": "baseline"}
"""The maps of a diagonal, and the condition whose diagonal is subtracted."""


@click.command()
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), required=True, help="Keeps what is computed.")
@click.option("--graded", type=click.Path(path_type=Path), help="What testbed.graded.train has left: study it instead.")
@click.option("--flow", type=click.Path(path_type=Path), help="What testbed.flow.train has left: study it instead.")
@click.option("--seed", default=0, show_default=True, help="Of the graded training.")
@click.option("--dropout", default=10, show_default=True, help="Of its captions, in percent.")
@click.option("--share", default=1.0, show_default=True, help="Of its training.")
@click.option("--cut", "names", multiple=True, help="One of the cuts studied; repeat.  [all]")
@click.option("--timestep", "timesteps", multiple=True, type=int, help="One of the bench's; repeat.  [all]")
@click.option("--probes/--no-probes", default=True, help="Also study the number of probes.")
def main(
    work: Path,
    graded: Path | None,
    flow: Path | None,
    seed: int,
    dropout: int,
    share: float,
    names: tuple[str, ...],
    timesteps: tuple[int, ...],
    probes: bool,
) -> None:
    """Print the tables of the testbed, or of a graded training, of a UNet or a transformer."""
    if flow is not None:
        bench, studied = flow_bench(flow, seed, share), OF_TRANSFORMERS
    else:
        bench = testbed_bench() if graded is None else graded_bench(graded, seed, dropout, share)
        studied = STUDIED
    _require("--cut", names, list(studied))
    _require("--timestep", timesteps, bench.timesteps)
    study = Study(bench, work, bench.timesteps)
    cuts = {name: cut for name, cut in studied.items() if not names or name in names}
    click.echo(f"## {bench.name}: {len(bench.images)} images\n")
    for line in _of_cuts(bench, study, cuts, timesteps or bench.timesteps):
        click.echo(line)
    click.echo("")
    last = "shallow: and statistics held" if flow is None else "no attention, statistics held"
    for line in _of_counts(bench, study, ("exact", "frozen: both held", last), studied) if probes else ():
        click.echo(line)


def _require(option: str, given: Sequence[object], known: Sequence[object]) -> None:
    for value in given:
        if value not in known:
            raise click.BadParameter(f"{value}: choose from {', '.join(map(str, known))}", param_hint=option)


def _of_cuts(bench: Bench, study: Study, cuts: dict[str, Cut], timesteps: Sequence[int]) -> Iterator[str]:
    exact = _maps(study, "exact", STUDIED["exact"], MANY, timesteps)
    of_map = "corr. / scale / IoU / AUC"
    yield f"| carries tangents | passes | t | share of h | h: corr. | dh_uncond: {of_map} | dh_base: the same |"
    yield "|---|---|---|---|---|---|---|"
    for name, cut in cuts.items():
        passes = study.passes(cut)
        many, usual = (_maps(study, name, cut, probes, timesteps) for probes in (MANY, USUAL))
        for index, timestep in enumerate(timesteps):
            share = many["h_cond"][index].mean() / exact["h_cond"][index].mean()
            corr = _correlation(many["h_cond"][index], exact["h_cond"][index])
            cells = [_cell(bench, usual[one][index], many[one][index], exact[one][index]) for one in LESS if LESS[one]]
            yield f"| {name} | {passes:.1f} | {timestep} | {share:.2f} | {corr} | {' | '.join(cells)} |"


def _of_counts(bench: Bench, study: Study, names: Sequence[str], studied: dict[str, Cut]) -> Iterator[str]:
    exact = _maps(study, "exact", studied["exact"], Probes(count=max(COUNTS)), bench.counted)
    yield "| derivative | probes | t | dh_uncond: corr. with exact, 64 probes / IoU / AUC | dh_base |"
    yield "|---|---|---|---|---|"
    for name in names:
        for count in COUNTS:
            kind = "hadamard" if count >= 4 else "rademacher"
            found = _maps(study, name, studied[name], Probes(kind, count), bench.counted)
            for index, timestep in enumerate(bench.counted):
                cells = [
                    _cell(bench, found[one][index], found[one][index], exact[one][index]) for one in LESS if LESS[one]
                ]
                yield f"| {name} | {count} {kind} | {timestep} | {' | '.join(cells)} |"


def _maps(study: Study, name: str, cut: Cut, probes: Probes, timesteps: Sequence[int]) -> dict[str, Array]:
    """Map -> [T, N, h, w], in the collapse unit."""
    diagonals = study.diagonals(name, cut, probes, timesteps)
    sigma = np.array([study.sigma(timestep) for timestep in timesteps], np.float32)[:, None, None, None]
    return {
        name: sigma * (diagonals["prompt"] - (diagonals[less] if less else 0)).mean(axis=2)
        for name, less in LESS.items()
    }


def _cell(bench: Bench, used: Array, found: Array, exact: Array) -> str:
    one = agreement("shallow", "dh_uncond", 0, found, exact)
    return f"{one.correlation:.4f} / {one.scale:.3f} / {_iou(bench, used):.3f} / {_auc(bench, used):.3f}"


def _correlation(found: Array, exact: Array) -> str:
    return f"{agreement('shallow', 'h_cond', 0, found, exact).correlation:.4f}"


def _iou(bench: Bench, maps: Array) -> float:
    """Of held-out captions that are memorized in part, at the threshold that is best on all of the others."""
    truth = np.stack([image.truth for image in bench.images])
    held_out = np.array([image.held_out for image in bench.images])
    local = held_out & _of_kind(bench, "local")
    threshold = best_threshold(maps[~held_out], truth[~held_out]).threshold
    predicted, true = maps[local] >= threshold, truth[local]
    both = (true * predicted).sum()
    return float(both / (true.sum() + predicted.sum() - both))


def _auc(bench: Bench, maps: Array) -> float:
    """Of the map's 90% quantile, for memorized captions against those that are not."""
    scores = np.quantile(maps.reshape(len(maps), -1), 0.9, axis=1)
    found = detection(scores, ~_of_kind(bench, "none"), np.arange(len(maps)))
    return found.auc if found else float("nan")


def _of_kind(bench: Bench, kind: str) -> NDArray[np.bool_]:
    return np.array([image.kind == kind for image in bench.images])


if __name__ == "__main__":
    main()
