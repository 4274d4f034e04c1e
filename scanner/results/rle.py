"""COCO run-length masks, read strictly: pycocotools decodes counts that end too early into uninitialised memory.

The counts are run lengths of 0s and 1s in turn, down the columns. Each is written in groups of 5 bits, low groups
first, as bytes 48 + group with bit 5 for "more follows" and the last group's bit 4 as the sign; from the fourth run on,
what is written is the difference to the run before the previous one.
"""

import numpy as np
from numpy.typing import NDArray


def decode(counts: bytes | str, height: int, width: int) -> NDArray[np.bool_]:
    """The mask [height, width] in compressed COCO RLE `counts`.

    Raises:
        ValueError: malformed counts, or counts of another size than height x width.
    """
    runs = _run_lengths(counts.encode() if isinstance(counts, str) else counts)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"mask is not a COCO RLE of {height} x {width} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _run_lengths(counts: bytes) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for byte in counts:
        group = byte - 48
        if not 0 <= group < 64:
            raise ValueError(f"mask is not a COCO RLE: it holds the byte {byte}")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("mask is not a COCO RLE: it ends within a number")
    return runs
