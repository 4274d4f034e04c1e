"""Deflation by forward products alone: XDiag (Epperly, Tropp and Webber, SIMAX 2024) where A^T v is not to be had.

With probes omega_i, Y = A Omega = Q R and Q_i an orthonormal basis of the range of Y without its column i, the diagonal
splits into a part that is known and a remainder, of which probe i, on which Q_i does not depend, gives an estimate:

    diag(A Q_i Q_i^T) + omega_i * (A (I - Q_i Q_i^T) omega_i)        mean over i

XDiag itself projects from the left, diag(Q_i Q_i^T A), which needs A^T Q. From the right, A Q is enough, and as
unbiased for any A; but Q spans what A makes of vectors, not what it takes of them, so that it deflates as far as A is
symmetric. No projection is made anew for an i: Q_i Q_i^T = Q (I - s_i s_i^T) Q^T, s_i the normalised columns of R^-T.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def deflated(product: Callable[[Array], Array], probes: Array) -> Array:
    """The estimate of diag(A) [n] of m probes [m, n], by 2 m products.

    Args:
        product: directions v [m, n] -> A v [m, n].

    Raises:
        ValueError: the products of the probes are not linearly independent.
    """
    omega, y = probes.T, product(probes).T  # [n, m]
    q, r = np.linalg.qr(y)
    if np.linalg.matrix_rank(r) < len(probes):
        raise ValueError(f"the products of {len(probes)} probes are not linearly independent")
    z = product(q.T).T
    s = np.linalg.inv(r).T
    s = s / np.linalg.norm(s, axis=0)
    of_probes = q.T @ omega  # [m, m]: column i is Q^T omega_i
    known = (z * q).sum(axis=1, keepdims=True) - (z @ s) * (q @ s)
    kept = of_probes - s * (s * of_probes).sum(axis=0)
    estimates: Array = known + omega * (y - z @ kept)
    return estimates.mean(axis=1)
