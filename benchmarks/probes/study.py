"""What is studied of a bench: some of its images, and for each a table of maps, one for each probe, that K of them
average to an estimate of dh_uncond.

Everything between a product and a map is linear, so a table is made once: the mean of its rows that belong to a K is
the map that a scan with these K probes stores.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.images import Image
from benchmarks.probes.colourings import HOUSE, LATENT, TABLE, Rows, random_table, span, table
from benchmarks.probes.products import Products
from benchmarks.probes.states import Drawn, draw
from memscan.scanner.bundle import Bundle
from memscan.scanner.metrics.probes import make_probes
from memscan.scanner.model.graphs import open_graphs
from memscan.scanner.sampling.schedule import noise_level
from memscan.scanner.settings import Derivative, Execution, Probes

Array = NDArray[np.float32]

TIMESTEPS = (401, 301, 201, 101)
TIMESTEP = 201
PER_KIND = {"local": 18, "global": 3, "none": 6}
"""Images at most; every third of a kind calibrates."""
FEW = span(HOUSE[8])
"""The rows that are computed at the other timesteps."""


def chosen(images: Sequence[Image]) -> tuple[Image, ...]:
    """The first images of each kind, as many as are studied."""
    return tuple(
        image for kind, count in PER_KIND.items() for image in [one for one in images if one.kind == kind][:count]
    )


class Study:
    """The images of one bench with their products; what `folder` holds already is not computed again."""

    def __init__(self, bundle: Bundle, images: Sequence[Image], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.bundle = bundle
        self.images = tuple(images)
        graphs = open_graphs(bundle, Execution(threads=1, provider="cpu"))
        self.drawn: Drawn = draw(bundle, graphs, self.images, TIMESTEPS, folder / "states.npz")
        self._products = Products(bundle, self.drawn, folder)

    def sigma(self, timestep: int) -> float:
        return noise_level(self.bundle.schedule, timestep).sigma

    def whole(self, condition: str, derivative: Derivative, image: int) -> Array:
        """J [n, n] of one image at `TIMESTEP`, J[i, j] = d eps_i / d x_j."""
        size = int(np.prod(LATENT))
        unit = functools.partial(np.eye, size, dtype=np.float32)
        return self._products.along("unit", unit, condition, derivative, TIMESTEP, image).T

    def hadamard(self, derivative: Derivative, condition: str, seed: int = 0) -> Array:
        """sigma v * (J v), channel means, of all probes of the finest colouring at `TIMESTEP`: [64, N, h, w]."""
        return self._table(f"hadamard-{seed}", functools.partial(table, seed), derivative, condition, TIMESTEP)

    def random(self, derivative: Derivative, condition: str, seed: int = 0) -> Array:
        """The same of 64 random probes."""
        return self._table(f"random-{seed}", functools.partial(random_table, seed), derivative, condition, TIMESTEP)

    def lattice(self, count: int, derivative: Derivative, condition: str, seed: int) -> Array:
        """The same of the product's lattice probes."""
        probes = functools.partial(lattice_probes, count, seed)
        return self._table(f"lattice-{count}-{seed}", probes, derivative, condition, TIMESTEP)

    def few(self, derivative: Derivative, condition: str, timestep: int) -> Array:
        """The same of the 8 probes of a scan at any of the timesteps: [8, N, h, w]."""
        if timestep == TIMESTEP:
            return self.hadamard(derivative, condition)[list(FEW)]
        return self._table("hadamard-0-8", few_probes, derivative, condition, timestep)

    def _table(
        self, name: str, probes: Callable[[], Array], derivative: Derivative, condition: str, timestep: int
    ) -> Array:
        found = []
        for image in range(len(self.images)):
            weighted = probes() * self._products.along(name, probes, condition, derivative, timestep, image)
            found.append(weighted.reshape(-1, *LATENT).mean(axis=1))
        return np.stack(found, axis=1) * np.float32(self.sigma(timestep))


def few_probes() -> Array:
    """The 8 probes of a scan, [8, n]."""
    return table(0)[list(FEW)]


def lattice_probes(count: int, seed: int) -> Array:
    """[count, n]."""
    return make_probes(Probes("lattice", count, seed), LATENT).reshape(count, -1)


def replicates(rows: Rows) -> list[Rows]:
    """The rows and all their cosets: the same colouring with other signs, as another seed has, from the same table."""
    left, found = set(range(TABLE)), []
    while left:
        shift = min(left)
        coset = tuple(row ^ shift for row in rows)
        left -= set(coset)
        found.append(coset)
    return found
