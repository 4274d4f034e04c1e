"""By what an image of one run is found in another: digests of 16 bytes, so that millions of them fit into memory."""

import hashlib

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.report.by import By

_BYTES = 16

Digests = NDArray[np.void]


def digests(table: pa.Table, by: By) -> Digests:
    """The digest of (`by`, seed) of each row [R].

    Raises:
        UsageError: a row has no such value.
    """
    if table[by].null_count:
        raise UsageError(f"{table[by].null_count} images have no {by}: choose another --by")
    pairs = zip(table[by].to_pylist(), table["seed"].to_pylist(), strict=True)
    joined = b"".join(
        hashlib.blake2b(f"{seed}\0{value}".encode(), digest_size=_BYTES).digest() for value, seed in pairs
    )
    return np.frombuffer(joined, f"V{_BYTES}")


class Index:
    """Finds digests among those that were put in: about 24 bytes of memory for each."""

    def __init__(self, digests: Digests) -> None:
        self._halves = digests.view(">u8").reshape(-1, 2)
        self._order = np.lexsort((self._halves[:, 1], self._halves[:, 0]))
        ordered = self._halves[self._order]
        self._first = ordered[:, 0].astype(np.uint64)
        self.repeated = int((ordered[1:] == ordered[:-1]).all(axis=1).sum())

    def find(self, digests: Digests) -> NDArray[np.intp]:
        """The place of each of `digests` [R] among those put in, -1 of those that are not there."""
        halves = digests.view(">u8").reshape(-1, 2)
        first = halves[:, 0].astype(np.uint64)
        found = np.full(len(halves), -1, np.intp)
        at = np.searchsorted(self._first, first)
        while True:
            # Digests with the same first half lie side by side.
            trying = (found < 0) & (at < len(self._first))
            trying[trying] = self._first[at[trying]] == first[trying]
            if not trying.any():
                return found
            place = self._order[at[trying]]
            same = self._halves[place, 1] == halves[trying, 1]
            found[np.flatnonzero(trying)[same]] = place[same]
            at[trying] += 1
