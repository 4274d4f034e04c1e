"""Files that were sound, cut short or with a few bytes changed: what disks, networks and strangers make of them."""

from collections.abc import Iterator

import numpy as np

_BYTES = (0, 10, 34, 92, 255)
"""Bytes that mean something to readers of text, besides any other."""


def mutations(sound: bytes, times: int, seed: int) -> Iterator[bytes]:
    """`times` of them. Half of the changes lie in the last part, where Parquet keeps what describes the rest."""
    rng = np.random.default_rng(seed)
    for _ in range(times):
        content = bytearray(sound)
        if rng.random() < 0.2:
            del content[int(rng.integers(len(content))) :]
        start = len(content) // 2 if rng.random() < 0.5 else 0
        for place in rng.integers(start, max(len(content), start + 1), size=rng.integers(1, 6)):
            if place < len(content):
                content[place] = rng.choice([*_BYTES, int(rng.integers(256))])
        yield bytes(content)
