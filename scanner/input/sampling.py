"""A sample of a manifest's rows: the same for the same seed, on every machine and whatever the batch size is.

Each row has a number of a counter-based generator; the rows with the smallest ones are chosen. Salmon et al., "Parallel
random numbers: as easy as 1, 2, 3", SC 2011 (Philox-4x64; numpy keeps the streams of its bit generators as they are).
"""

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 20


def sample_rows(num_rows: int, count: int, seed: int) -> NDArray[np.int64]:
    """Indices [min(count, num_rows)] of the rows that are chosen, ascending; every set of them is as likely.

    Args:
        num_rows: of the whole manifest. With more rows, others are chosen.
        seed: from 0 to 2**63 - 1.
    """
    generator = np.random.Philox(key=seed)
    numbers, rows = np.empty(0, np.uint64), np.empty(0, np.int64)
    for start in range(0, num_rows, _CHUNK):
        size = min(_CHUNK, num_rows - start)
        numbers = np.concatenate([numbers, generator.random_raw(size)])
        rows = np.concatenate([rows, np.arange(start, start + size)])
        if len(rows) > count:
            best = np.argsort(numbers, kind="stable")[:count]
            numbers, rows = numbers[best], rows[best]
    return np.sort(rows)
