"""How well one map stands for another, and which derivative that speaks for.

Over all cells of all images at one noise level, with x the map by the exact derivative and y by a cheaper one:
correlation is Pearson's, and scale the least-squares slope of y on x. A scale other than 1 does no harm by itself,
since thresholds belong to the kind of derivative; a lower correlation does.
"""

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.bundle_parts import Agreement, Certificate
from memscan.scanner.settings import DERIVATIVES, Derivative

LEAST_CORRELATION = 0.99
"""Of every map at every default timestep, for a derivative to be a bundle's default."""


def agreement(
    derivative: Derivative, name: str, timestep: int, found: NDArray[np.floating], exact: NDArray[np.floating]
) -> Agreement:
    """How a map `[N, h, w]` by `derivative` agrees with the one by the exact derivative.

    Both figures are None where the exact map is constant, the correlation alone where the found one is.
    """
    x = exact.astype(np.float64).ravel()
    y = found.astype(np.float64).ravel()
    x, y = x - x.mean(), y - y.mean()
    of_x, of_y, of_both = float(x @ x), float(y @ y), float(x @ y)
    if not of_x:
        return Agreement(derivative, name, timestep, None, None)
    correlation = min(1.0, max(-1.0, of_both / (of_x * of_y) ** 0.5)) if of_y else None
    return Agreement(derivative, name, timestep, correlation, of_both / of_x)


def certified(certificate: Certificate) -> Derivative:
    """The cheapest derivative that agrees well enough wherever it was compared, else "exact"."""
    for derivative in DERIVATIVES:
        found = [one.correlation for one in certificate.agreements if one.derivative == derivative]
        if found and all(correlation is not None and correlation >= LEAST_CORRELATION for correlation in found):
            return derivative
    return "exact"
