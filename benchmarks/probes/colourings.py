"""Probes of any K out of one table of 64 products: the house's Hadamard probes, which are nested, and all others alike.

With H the Sylvester matrix of 64 rows, H[k, c] = (-1)^(bits that k and c share), and colours of channel, y mod 4 and
x mod 4, six bits, the probes that the product uses for a smaller K are rows of the same table: those whose bits lie in
a subspace. What such a choice tells apart are the coordinates on which one of its rows differs.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.metrics.probes import make_probes
from memscan.scanner.settings import Probes

Array = NDArray[np.float32]
Rows = tuple[int, ...]

LATENT = (4, 16, 16)
TABLE = 64
CHANNEL, Y, X = (32, 16), (8, 4), (2, 1)
"""Bits of a row: higher and lower bit of the channel, of y mod 4 and of x mod 4."""
HOUSE: dict[int, tuple[int, ...]] = {
    1: (),
    2: (Y[1] | X[1],),
    4: CHANNEL,
    8: (*CHANNEL, Y[1] | X[1]),
    16: (*CHANNEL, Y[1], X[1]),
    32: (*CHANNEL, Y[1], X[1], Y[0] | X[0]),
    64: (*CHANNEL, *Y, *X),
}
"""Generators of the rows of each K. 4, 8, 16 and 64 are the product's; 1, 2 and 32 are made in their way."""


def table(seed: int) -> Array:
    """The 64 probes [64, n] of a seed."""
    return make_probes(Probes("hadamard", TABLE, seed), LATENT).reshape(TABLE, -1)


def random_table(seed: int) -> Array:
    """64 random probes [64, n] of a seed."""
    return make_probes(Probes("rademacher", TABLE, seed), LATENT).reshape(TABLE, -1)


def span(generators: tuple[int, ...]) -> Rows:
    """The rows of the subspace that some rows generate, ascending; the first is 0."""
    rows = {0}
    for generator in generators:
        rows |= {row ^ generator for row in rows}
    return tuple(sorted(rows))


def subspaces(dimension: int) -> Iterator[Rows]:
    """The rows of all subspaces of a dimension, each once: the ways to colour with 2^dimension colours."""
    found = set()
    for generators in combinations(range(1, TABLE), dimension):
        rows = span(generators)
        if len(rows) == 2**dimension and rows not in found:
            found.add(rows)
            yield rows


def described(rows: Rows) -> str:
    """The colours of a choice of rows in words: what its generators tell apart."""
    names = {32: "c/2", 16: "c", 8: "y/2", 4: "y", 2: "x/2", 1: "x"}
    generators: list[int] = []
    for row in rows:
        if row not in span(tuple(generators)):
            generators.append(row)
    parts = ["+".join(name for bit, name in names.items() if row & bit) for row in generators]
    return ", ".join(parts) or "one colour"
