"""How many probes, of which kind, by which derivative: error, IoU and AUC of dh_uncond beside their cost."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.probes.colourings import HOUSE, TABLE, span
from benchmarks.probes.cost import beyond_sampling, beyond_sampling_sd1
from benchmarks.probes.judge import Judged, Truth, judge
from benchmarks.probes.study import Study, replicates
from memscan.scanner.settings import Derivative

Array = NDArray[np.float32]
KINDS: tuple[Derivative, ...] = ("exact", "shallow")
REPEATED = 8
"""Repetitions with other signs at most."""
LATTICES = (2, 4, 8, 16)
"""Numbers of lattice probes, and with which SEEDS of signs."""
SEEDS = (0, 1, 2)
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


def lattice(study: Study, count: int, derivative: Derivative, seed: int) -> Array:
    """The map of K lattice probes."""
    prompt, none = (study.lattice(count, derivative, condition, seed) for condition in ("prompt", "none"))
    return (prompt - none).mean(axis=0)


def repeated_random(table: Array, count: int) -> list[Array]:
    """The maps of K random probes out of a table of 64."""
    return [table[first : first + count].mean(axis=0) for first in range(0, TABLE, count)][:REPEATED]


def counted(study: Study, truth: Truth) -> Iterator[Counted]:
    """Every derivative with every number of Hadamard and lattice probes; random ones by the shallow derivative."""
    reference = reference_of(study)
    for derivative in KINDS:
        tables = {"hadamard": study.hadamard(derivative, "prompt") - study.hadamard(derivative, "none")}
        if derivative == "shallow":
            tables["random"] = study.random(derivative, "prompt") - study.random(derivative, "none")
        for kind, table in tables.items():
            for count in HOUSE:
                maps = (repeated if kind == "hadamard" else repeated_random)(table, count)
                yield _counted(study, derivative, kind, maps, count, reference, truth)
        for count in LATTICES:
            maps = [lattice(study, count, derivative, seed) for seed in SEEDS]
            yield _counted(study, derivative, "lattice", maps, count, reference, truth)


def _counted(
    study: Study, derivative: Derivative, kind: str, maps: list[Array], count: int, reference: Array, truth: Truth
) -> Counted:
    cost = beyond_sampling(study.bundle, derivative, count), beyond_sampling_sd1(derivative, count)
    return Counted(derivative, kind, count, *cost, judge(maps, reference, truth))


def lines(found: Sequence[Counted]) -> Iterator[str]:
    """The table; the last line of the exact Hadamard probes is the reference."""
    yield HEADER
    base = reference_line(found)
    for one in found:
        yield (
            f"| {one.derivative} | {one.count} {one.kind} | {one.passes:.2f} / {one.passes_sd1:.2f} | "
            f"{cells(one.judged, base.judged)} |"
        )


def reference_line(found: Sequence[Counted]) -> Counted:
    """The line of the reference itself."""
    return next(one for one in found if (one.derivative, one.kind, one.count) == ("exact", "hadamard", TABLE))


def cells(judged: Judged, base: Judged) -> str:
    """error | after a factor | local IoU | spread | less the reference | all held-out | AUC"""
    low, high = judged.interval
    difference, (least, most) = judged.less(base)
    return (
        f"{judged.error:.3f} | {judged.rest:.3f} | {judged.iou:.3f} [{low:.3f}, {high:.3f}] | {judged.spread:.3f} | "
        f"{difference:+.3f} [{least:+.3f}, {most:+.3f}] | {judged.everywhere:.3f} | {judged.auc:.3f}"
    )
