"""Less variance for the same price: control variates, smoothing, neighbouring noise levels, shared probes.

Weights are found by least squares on the calibration captions against the reference map, no mask being used, and
judged on the held-out ones. Costs are of the tangents that an estimate really takes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.probes.colourings import HOUSE, Rows, span
from benchmarks.probes.cost import beyond_sampling
from benchmarks.probes.counts import REPEATED, cells, reference_of, repeated_lattice
from benchmarks.probes.estimates import blurred, coefficients, combined
from benchmarks.probes.judge import Truth, judge
from benchmarks.probes.study import FEW, TIMESTEP, Study, replicates
from memscan.scanner.metrics.smoothing import smoothed

Array = NDArray[np.float32]
RADII = (0.5, 0.7, 1.0)
NEIGHBOURS = (301, 101)


class Way(NamedTuple):
    """One way to a map, the weighted sum of `parts` [E, N, h, w] of each repetition; a single part as it is."""

    name: str
    passes: float
    parts: Sequence[Array]


def ways(study: Study) -> Iterator[Way]:
    """All that is compared: 4 and 8 probes by the shallow derivative, and the exact one with the shallow's help."""
    prompt, none = (study.hadamard("shallow", condition) for condition in ("prompt", "none"))
    difference = prompt - none
    for count in (4, 8):
        repeated = replicates(span(HOUSE[count]))[:REPEATED]
        passes = beyond_sampling(study.bundle, "shallow", count)
        own = [_mean(difference, rows) for rows in repeated]
        yield Way(f"shallow, {count}", passes, [one[None] for one in own])
        others = [*repeated[1:], repeated[0]]
        unshared = [_mean(prompt, a) - _mean(none, b) for a, b in zip(repeated, others, strict=True)]
        yield Way(f"shallow, {count}, other signs for none", passes, [one[None] for one in unshared])
        halves = [_mean(prompt, rows) - _mean(none, _half(rows)) for rows in repeated]
        fewer = beyond_sampling(study.bundle, "shallow", 0.75 * count)
        yield Way(f"shallow, {count} for the prompt, {count // 2} for none", fewer, [one[None] for one in halves])
        for radius in RADII:
            yield Way(f"shallow, {count}, Gaussian of {radius}", passes, [blurred(one, radius)[None] for one in own])
        yield Way(f"shallow, {count}, mean of 3 x 3", passes, [smoothed(one, 3)[None] for one in own])
        mixed = [np.stack([one, blurred(one, 1.0)]) for one in own]
        yield Way(f"shallow, {count}, and its Gaussian of 1.0, weighted", passes, mixed)
    for count in (2, 4):
        passes = beyond_sampling(study.bundle, "shallow", count)
        own = repeated_lattice(study, "shallow", count)
        yield Way(f"shallow, {count} lattice", passes, [one[None] for one in own])
        for radius in RADII:
            yield Way(
                f"shallow, {count} lattice, Gaussian of {radius}", passes, [blurred(one, radius)[None] for one in own]
            )
        mixed = [np.stack([one, blurred(one, 1.0)]) for one in own]
        yield Way(f"shallow, {count} lattice, and its Gaussian of 1.0, weighted", passes, mixed)
    yield from _neighbours(study, difference)
    yield from _controlled(study, difference)


def lines(study: Study, truth: Truth) -> Iterator[str]:
    """The table."""
    reference = reference_of(study)
    base = judge([reference], reference, truth)
    calibrating = ~truth.held_out
    yield (
        "| estimate | passes beyond sampling | weights | error | after a factor | local IoU | spread "
        "| less the reference | all held-out | AUC |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for way in ways(study):
        weights = [
            np.ones(1) if len(parts) == 1 else coefficients(parts[:, calibrating], reference[calibrating])
            for parts in way.parts
        ]
        maps = [combined(parts, one).astype(np.float32) for parts, one in zip(way.parts, weights, strict=True)]
        shown = ", ".join(f"{one:.2f}" for one in np.mean(weights, axis=0)) if len(weights[0]) > 1 else ""
        yield f"| {way.name} | {way.passes:.2f} | {shown} | {cells(judge(maps, reference, truth), base)} |"


def _neighbours(study: Study, difference: Array) -> Iterator[Way]:
    """Half of the 8 probes here and half at another noise level, and all of them at both."""
    halves = [tuple(index for index, row in enumerate(FEW) if row in rows) for rows in _halves_of_few()]
    here = difference[list(FEW)]
    for timestep in NEIGHBOURS:
        there = study.few("shallow", "prompt", timestep) - study.few("shallow", "none", timestep)
        passes = beyond_sampling(study.bundle, "shallow", 8)
        split = [
            np.stack([_mean(here, a), _mean(there, b)]) for a, b in (halves, halves[::-1])
        ]  # the other half of the probes at the other level
        yield Way(f"shallow, 4 at {TIMESTEP} and the other 4 at {timestep}, weighted", passes, split)
        both = [np.stack([here.mean(axis=0), there.mean(axis=0)])]
        yield Way(f"shallow, 8 at {TIMESTEP} and 8 at {timestep}, weighted", 2 * passes, both)


def _halves_of_few() -> tuple[Rows, Rows]:
    house = span(HOUSE[4])
    return house, tuple(row for row in FEW if row not in house)


def _controlled(study: Study, shallow: Array) -> Iterator[Way]:
    """The exact derivative with few probes, the error of the shallow one with the same probes taken off."""
    exact = study.hadamard("exact", "prompt") - study.hadamard("exact", "none")
    for count, many in ((4, 16), (4, 64), (8, 64)):
        finer = span(HOUSE[many])
        repeated = [rows for rows in replicates(span(HOUSE[count])) if set(rows) <= set(finer)]
        parts = [
            np.stack([_mean(exact, rows), _mean(shallow, rows) - _mean(shallow, finer)]) for rows in repeated[:REPEATED]
        ]
        alone = beyond_sampling(study.bundle, "exact", count)
        yield Way(f"exact, {count}", alone, [part[:1] for part in parts])
        with_control = alone + beyond_sampling(study.bundle, "shallow", many)
        yield Way(f"exact, {count}, less the shallow's error ({many} shallow), weighted", with_control, parts)


def _mean(table: Array, rows: Sequence[int]) -> Array:
    return table[list(rows)].mean(axis=0)


def _half(rows: Rows) -> Rows:
    """A subspace's half, shifted alike: the first rows of a coset of the product's order."""
    shift = rows[0]
    smaller = span(HOUSE[len(rows) // 2])
    return tuple(row ^ shift for row in smaller)
