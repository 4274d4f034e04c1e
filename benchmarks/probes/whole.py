"""Estimates beside the exact diagonal, where the whole Jacobian is known: many seeds, deflation, and why it fails."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.probes.colourings import HOUSE, LATENT, random_table, span, table
from benchmarks.probes.counts import KINDS
from benchmarks.probes.deflation import deflated
from benchmarks.probes.judge import distance
from benchmarks.probes.study import TIMESTEP, Study, lattice_probes
from memscan.scanner.metrics.probes import lattice_counts

Array = NDArray[np.floating[Any]]
SEEDS = range(6)
LEADING = (8, 64, 256)


def lines(study: Study, images: Sequence[int]) -> Iterator[str]:
    """Error of dh_uncond's map against the exact diagonal of the same derivative, over images and seeds."""
    names = ["lattice", "hadamard", "random", "deflated, of the difference", "deflated, each by itself", "other signs"]
    yield f"| derivative | K | {' | '.join(names)} |"
    yield "|---|---|" + "---|" * len(names)
    for derivative in KINDS:
        pairs = [(study.whole("prompt", derivative, image), study.whole("none", derivative, image)) for image in images]
        for count in HOUSE:
            found = [[_error(estimate, *pair, count) for pair in pairs] for estimate in _ESTIMATES]
            yield f"| {derivative} | {count} | {' | '.join(_cell(errors) for errors in found)} |"
        yield from _structure(study, *pairs[0], derivative)


def _cell(errors: list[list[float]]) -> str:
    """Mean over images and seeds, and the spread over seeds."""
    values = np.array(errors)
    return f"{values.mean():.3f} ± {values.std(axis=1).mean():.3f}" if values.size else ""


def _error(estimate: "_Estimate", prompt: Array, none: Array, count: int) -> list[float]:
    exact = _map(np.diag(prompt) - np.diag(none))
    found = (estimate(prompt, none, count, seed) for seed in SEEDS)
    return [distance(_map(one), exact) for one in found if one is not None]


def _map(diagonal: Array) -> Array:
    return diagonal.reshape(LATENT).mean(axis=0)


def _hadamard(prompt: Array, none: Array, count: int, seed: int) -> Array:
    probes = table(seed)[list(span(HOUSE[count]))]
    return (probes * (probes @ (prompt - none).T)).mean(axis=0)


def _lattice(prompt: Array, none: Array, count: int, seed: int) -> Array | None:
    if count not in lattice_counts(LATENT[0]):
        return None
    probes = lattice_probes(count, seed)
    return (probes * (probes @ (prompt - none).T)).mean(axis=0)


def _random(prompt: Array, none: Array, count: int, seed: int) -> Array:
    probes = random_table(seed)[:count]
    return (probes * (probes @ (prompt - none).T)).mean(axis=0)


def _of_difference(prompt: Array, none: Array, count: int, seed: int) -> Array | None:
    difference = (prompt - none).astype(np.float64)
    return deflated(lambda v: v @ difference.T, random_table(seed)[: count // 2]) if count > 1 else None


def _each(prompt: Array, none: Array, count: int, seed: int) -> Array | None:
    if count == 1:
        return None
    probes = random_table(seed)[: count // 2]
    wide = [one.astype(np.float64) for one in (prompt, none)]
    return deflated(lambda v: v @ wide[0].T, probes) - deflated(lambda v: v @ wide[1].T, probes)


def _unshared(prompt: Array, none: Array, count: int, seed: int) -> Array:
    rows = list(span(HOUSE[count]))
    own, other = table(seed)[rows], table(seed + len(SEEDS))[rows]
    return (own * (own @ prompt.T)).mean(axis=0) - (other * (other @ none.T)).mean(axis=0)


_Estimate = Callable[[Array, Array, int, int], Array | None]
_ESTIMATES: tuple[_Estimate, ...] = (_lattice, _hadamard, _random, _of_difference, _each, _unshared)
"""K products of each condition each, None where there is no such K: a deflated estimate has K / 2 probes."""


def _structure(study: Study, prompt: Array, none: Array, derivative: str) -> Iterator[str]:
    """What there is to deflate: how symmetric J is, what its leading directions hold, and where it is not diagonal."""
    yield ""
    for name, one in (("J of the prompt", prompt), ("the difference", prompt - none)):
        rest = one - np.diag(np.diag(one))
        singular = np.square(np.linalg.svd(rest, compute_uv=False))
        held = ", ".join(f"{count}: {singular[:count].sum() / singular.sum():.2f}" for count in LEADING)
        asymmetry = np.linalg.norm(one - one.T) / np.linalg.norm(one)
        yield (
            f"{derivative}, {name}, t = {TIMESTEP}: |J - J^T| / |J| {asymmetry:.3f}; off the diagonal, share of the "
            f"square in the leading directions {held}; by place: {_places(rest)}"
        )
    yield ""


def _places(rest: Array) -> str:
    channel, y, x = (axis.ravel() for axis in np.indices(LATENT))
    energy = np.square(rest)
    apart = np.maximum(np.abs(y[:, None] - y), np.abs(x[:, None] - x))
    same = channel[:, None] == channel
    parts = {
        "other channels of the cell": (apart == 0) & ~same,
        "the same channel next to it": (apart == 1) & same,
        "other channels next to it": (apart == 1) & ~same,
        "two cells away": apart == 2,
        "farther": apart > 2,
    }
    return ", ".join(f"{name} {energy[where].sum() / energy.sum():.2f}" for name, where in parts.items())
