"""Which timestep, and what sampling gives for nothing: maps at four noise levels, and differences of eps on the way."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.probes.cost import beyond_sampling
from benchmarks.probes.counts import KINDS, cells, reference_of
from benchmarks.probes.estimates import blurred, coefficients, combined
from benchmarks.probes.judge import Truth, judge
from benchmarks.probes.study import FEW, TIMESTEPS, Study
from memscan.scanner.metrics.smoothing import smoothed

Array = NDArray[np.float32]
RADII = (0.7, 1.0, 1.4)
FIRST = 600
"""Accumulated are the steps below this timestep; above it a difference of eps knows no place."""


def lines(study: Study, truth: Truth) -> Iterator[str]:
    """The table. Errors are to the reference at its own timestep: only `after a factor` compares noise levels."""
    reference = reference_of(study)
    base = judge([reference], reference, truth)
    yield (
        "| map | passes beyond sampling | error | after a factor | local IoU | spread | less the reference "
        "| all held-out | AUC |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"

    def line(name: str, passes: float, maps: Array) -> str:
        return f"| {name} | {passes:.2f} | {cells(judge([maps.astype(np.float32)], reference, truth), base)} |"

    for timestep in TIMESTEPS:
        for derivative in KINDS:
            table = study.few(derivative, "prompt", timestep) - study.few(derivative, "none", timestep)
            passes = beyond_sampling(study.bundle, derivative, len(FEW))
            yield line(f"dh_uncond, {derivative}, 8 probes, t = {timestep}", passes, table.mean(axis=0))
        yield line(f"ds_uncond, t = {timestep}", 0, ds_uncond(study, [timestep])[0])
    late = [timestep for timestep in study.drawn.differences if timestep < FIRST]
    steps = ds_uncond(study, late)
    yield line(f"ds_uncond, mean of the steps {', '.join(map(str, late))}", 0, steps.mean(axis=0))
    for radius in RADII:
        yield line(f"the same, Gaussian of {radius}", 0, blurred(steps.mean(axis=0), radius))
    yield line("the same, mean of 3 x 3", 0, smoothed(steps.mean(axis=0), 3))
    calibrating = ~truth.held_out
    soft = np.stack([blurred(one, RADII[0]) for one in steps])
    weights = coefficients(soft[:, calibrating], truth.covers[calibrating])
    shown = ", ".join(f"{one:.2f}" for one in weights)
    yield line(
        f"each step, Gaussian of {RADII[0]}, weighted on calibration masks ({shown})", 0, combined(soft, weights)
    )


def ds_uncond(study: Study, timesteps: Sequence[int]) -> Array:
    """(eps_c - eps_0)^2, channel means, [T, N, h, w]."""
    return np.stack([np.square(study.drawn.differences[timestep]).mean(axis=1) for timestep in timesteps])
