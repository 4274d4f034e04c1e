"""How many probes, of which kind, by which derivative: error, IoU and AUC of dh_uncond beside their cost."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.probes.colourings import HOUSE, LATENT, TABLE, span
from benchmarks.probes.cost import beyond_sampling, beyond_sampling_sd1
from benchmarks.probes.judge import Judged, Truth, judge
from benchmarks.probes.study import Study, replicates
from memscan.scanner.metrics.probes import lattice_counts
from memscan.scanner.settings import Derivative

Array = NDArray[np.float32]
KINDS: tuple[Derivative, ...] = ("exact", "shallow")
SEEDS = (0, 1, 2)
REPEATED = 8
"""Repetitions with other signs at most."""
HEADER = (
    "| derivative | probes | passes beyond sampling: here / SD 1.x | error | after a factor | local IoU | spread "
    "| less the reference | all held-out | AUC |\n|---|---|---|---|---|---|---|---|---|---|"
)


class Counted(NamedTuple):
    """One line of the table."""

    derivative: Derivative
    kind: str
    count: int
    passes: float
    passes_sd1: float
    judged: Judged


def reference_of(study: Study) -> Array:
    """dh_uncond [N, h, w] of 64 Hadamard probes by the exact derivative."""
    return (study.hadamard("exact", "prompt") - study.hadamard("exact", "none")).mean(axis=0)


def repeated(table: Array, count: int) -> list[Array]:
    """The maps of K Hadamard probes, repeated with other signs, out of a table [64, N, h, w]."""
    return [table[list(rows)].mean(axis=0) for rows in replicates(span(HOUSE[count]))[:REPEATED]]


def repeated_random(table: Array, count: int) -> list[Array]:
    """The maps of K random probes out of a table of 64."""
    return [table[first : first + count].mean(axis=0) for first in range(0, TABLE, count)][:REPEATED]


def repeated_lattice(study: Study, derivative: Derivative, count: int, seeds: Sequence[int] = SEEDS) -> list[Array]:
    """The maps of K lattice probes of several seeds."""
    return [
        (study.lattice(count, derivative, "prompt", seed) - study.lattice(count, derivative, "none", seed)).mean(axis=0)
        for seed in seeds
    ]


def counted(study: Study, truth: Truth) -> Iterator[Counted]:
    """Every derivative with every number of Hadamard and of lattice probes; random ones by the shallow derivative."""
    reference = reference_of(study)
    for derivative in KINDS:
        yield from _structured(study, truth, derivative, reference, lattice_counts(LATENT[0]), SEEDS)
    table = study.random("shallow", "prompt") - study.random("shallow", "none")
    for count in HOUSE:
        yield _counted(study, "shallow", "random", count, judge(repeated_random(table, count), reference, truth))


def counted_shallow(study: Study, truth: Truth) -> Iterator[Counted]:
    """The shallow derivative alone, beside its own 64 probes, where the exact one takes too long."""
    reference = (study.hadamard("shallow", "prompt") - study.hadamard("shallow", "none")).mean(axis=0)
    yield from _structured(study, truth, "shallow", reference, (4, 8), SEEDS[:1])


def _structured(
    study: Study,
    truth: Truth,
    derivative: Derivative,
    reference: Array,
    lattices: Sequence[int],
    seeds: Sequence[int],
) -> Iterator[Counted]:
    for count in lattices:
        judged = judge(repeated_lattice(study, derivative, count, seeds), reference, truth)
        yield _counted(study, derivative, "lattice", count, judged)
    table = study.hadamard(derivative, "prompt") - study.hadamard(derivative, "none")
    for count in HOUSE:
        yield _counted(study, derivative, "hadamard", count, judge(repeated(table, count), reference, truth))


def _counted(study: Study, derivative: Derivative, kind: str, count: int, judged: Judged) -> Counted:
    here, sd1 = beyond_sampling(study.bundle, derivative, count), beyond_sampling_sd1(derivative, count)
    return Counted(derivative, kind, count, here, sd1, judged)


def lines(found: Sequence[Counted]) -> Iterator[str]:
    """The table; what all lines are compared with is one of them."""
    yield HEADER
    base = reference_line(found)
    for one in found:
        yield (
            f"| {one.derivative} | {one.count} {one.kind} | {one.passes:.2f} / {one.passes_sd1:.2f} | "
            f"{cells(one.judged, base.judged)} |"
        )


def reference_line(found: Sequence[Counted]) -> Counted:
    """The line of the reference itself: the most Hadamard probes by the first derivative there is."""
    return next(one for one in found if (one.kind, one.count) == ("hadamard", TABLE))


def cells(judged: Judged, base: Judged) -> str:
    """error | after a factor | local IoU | spread | less the reference | all held-out | AUC"""
    low, high = judged.interval
    difference, (least, most) = judged.less(base)
    return (
        f"{judged.error:.3f} | {judged.rest:.3f} | {judged.iou:.3f} [{low:.3f}, {high:.3f}] | {judged.spread:.3f} | "
        f"{difference:+.3f} [{least:+.3f}, {most:+.3f}] | {judged.everywhere:.3f} | {judged.auc:.3f}"
    )
