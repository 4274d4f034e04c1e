"""The images with the highest scores of a stream of rows: no more of them is held than is asked for, and a batch."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memscan.scanner.samples import Key


class Ranking:
    """The `limit` highest scores so far. Equal scores are in the order of row and seed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._scores: NDArray[np.float64] = np.empty(0)
        self._keys: NDArray[np.int64] = np.empty((0, 2), np.int64)

    def add(self, rows: pa.Table) -> None:
        """Take in rows that have a score."""
        scores = np.concatenate((self._scores, rows["score"].to_numpy().astype(np.float64)))
        own = np.stack([rows[name].to_numpy() for name in ("row", "seed")], axis=1)
        keys = np.concatenate((self._keys, own))
        order = np.lexsort((keys[:, 1], keys[:, 0], -scores))[: self._limit]
        self._scores, self._keys = scores[order], keys[order]

    def keys(self) -> list[Key]:
        """(row, seed) of the images, the highest score first."""
        return [(int(row), int(seed)) for row, seed in self._keys]
