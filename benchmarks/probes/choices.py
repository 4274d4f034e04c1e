"""Which colouring: every way to tell coordinates apart with 2 or 4 colours by bits of channel and place.

The error of a choice is known without any mask, from products alone; the best is chosen on the calibration captions and
judged on the held-out ones.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.probes.colourings import HOUSE, Rows, described, span, subspaces
from benchmarks.probes.counts import KINDS, REPEATED, cells, reference_of
from benchmarks.probes.judge import Truth, distance, judge
from benchmarks.probes.study import Study, replicates

Array = NDArray[np.float32]
DIMENSIONS = (1, 2)
SHOWN = 3


def lines(study: Study, truth: Truth) -> Iterator[str]:
    """The best choices of each size and the product's own."""
    reference = reference_of(study)
    base = judge([reference], reference, truth)
    yield (
        "| derivative | probes | colours | error, calibration | error | after a factor | local IoU | spread "
        "| less the reference | all held-out | AUC |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for derivative in KINDS:
        table = study.hadamard(derivative, "prompt") - study.hadamard(derivative, "none")
        goal = table.mean(axis=0)[~truth.held_out]
        for dimension in DIMENSIONS:
            house = span(HOUSE[2**dimension])
            errors = {rows: _error(table[:, ~truth.held_out], rows, goal) for rows in subspaces(dimension)}
            ranked = sorted(errors, key=errors.__getitem__)
            for rows in dict.fromkeys((*ranked[:SHOWN], house, ranked[-1])):
                maps = [table[list(coset)].mean(axis=0) for coset in replicates(rows)[:REPEATED]]
                name = described(rows) + (" (hadamard)" if rows == house else "")
                judged = cells(judge(maps, reference, truth), base)
                yield f"| {derivative} | {len(rows)} | {name} | {errors[rows]:.3f} | {judged} |"


def _error(table: Array, rows: Rows, goal: Array) -> float:
    """The mean over repetitions."""
    found: Sequence[float] = [
        distance(table[list(coset)].mean(axis=0), goal) for coset in replicates(rows)[: REPEATED // 2]
    ]
    return float(np.mean(found))
