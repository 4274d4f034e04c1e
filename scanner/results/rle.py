"""COCO run-length masks, read strictly: pycocotools decodes counts that end too early into uninitialised memory.

The counts are run lengths of 0s and 1s in turn, down the *columns* (Fortran order): `decode` reads them, and so does
`pycocotools.mask.decode({"size": [mask_height, mask_width], "counts": mask})`. Each is written in groups of 5 bits, low
groups first, as bytes 48 + group with bit 5 for "more follows" and the last group's bit 4 as the sign; from the fourth
run on, what is written is the difference to the run before the previous one.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 1 << 26
"""Of a mask that is decoded, unless its reader says otherwise: 8192 x 8192, 64 MiB."""

_LONGEST = 7
"""Groups of a number that belongs to a mask: 35 bits."""


def encode(masks: NDArray[np.bool_]) -> list[bytes]:
    """The compressed COCO RLE counts of masks [N, height, width], byte for byte as pycocotools writes them."""
    count, pixels = len(masks), masks.shape[1] * masks.shape[2]
    ends = np.ones((count, pixels + 1), np.bool_)  # whether a run ends before a pixel; the last one does at the end
    down = np.asarray(masks, np.bool_).transpose(0, 2, 1).reshape(count, pixels)
    ends[:, :-1] = down
    ends[:, 1:-1] ^= down[:, :-1]
    places = np.flatnonzero(ends)
    sizes = np.count_nonzero(ends, axis=1)
    starts = np.cumsum(sizes) - sizes
    runs = np.diff(places, prepend=0)
    runs[starts] = places[starts] - np.arange(count) * (pixels + 1)
    numbers = runs.copy()
    numbers[2:] -= runs[:-2]
    whole = (starts[:, None] + np.arange(3))[np.arange(3) < sizes[:, None]]
    numbers[whole] = runs[whole]
    text, lengths = _spelled(numbers)
    cuts = [0, *np.cumsum(np.add.reduceat(lengths, starts) if count else lengths).tolist()]
    return [text[first:last] for first, last in itertools.pairwise(cuts)]


def decode(counts: bytes | str, height: int, width: int, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.bool_]:
    """The mask [height, width] in compressed COCO RLE `counts`; nothing of its size is allocated before it is checked.

    Raises:
        ValueError: malformed counts, counts of another size than height x width, or more than `max_pixels`.
    """
    if height < 0 or width < 0 or height * width > max_pixels:
        raise ValueError(f"a mask of {height} x {width} pixels is too large: {max_pixels} pixels are the most")
    text = _bytes(counts)
    if len(text) > _LONGEST * (height * width + 1):
        raise ValueError(f"mask is not a COCO RLE of {height} x {width} pixels")
    runs = _run_lengths(np.frombuffer(text, np.uint8), max_pixels)
    if runs is None or runs.min(initial=0) < 0 or runs.sum() != height * width:
        raise ValueError(f"mask is not a COCO RLE of {height} x {width} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _spelled(numbers: NDArray[np.int64]) -> tuple[bytes, NDArray[np.int64]]:
    """Each number [R] in as few groups as hold it and its sign, and how many these are [R]."""
    rest = numbers
    written = np.ones(len(numbers), np.bool_)
    columns: list[NDArray[np.uint8]] = []
    while written.any():
        group = rest & 31
        rest = rest >> 5
        more = written & (rest != np.where(group & 16, -1, 0))
        columns.append(np.where(written, 48 + (group | more << 5), 0).astype(np.uint8))
        written = more
    table = np.stack(columns, axis=1)  # [R, longest]
    return table[table != 0].tobytes(), np.count_nonzero(table, axis=1)


def _bytes(counts: bytes | str) -> bytes:
    try:
        return counts.encode("ascii") if isinstance(counts, str) else counts
    except UnicodeEncodeError as error:
        raise ValueError(f"mask is not a COCO RLE: it holds the character {counts[error.start]!r}") from None


def _run_lengths(text: NDArray[np.uint8], largest: int) -> NDArray[np.int64] | None:
    """The runs that bytes spell, or None if one of them is longer than `largest`."""
    groups = text.astype(np.int64) - 48
    strange = text[(groups < 0) | (groups >= 64)]
    if strange.size:
        raise ValueError(f"mask is not a COCO RLE: it holds the byte {strange[0]}")
    if groups.size and groups[-1] & 32:
        raise ValueError("mask is not a COCO RLE: it ends within a number")
    last = np.flatnonzero(groups & 32 == 0)
    lengths = np.diff(last, prepend=-1)
    if lengths.max(initial=0) > _LONGEST:
        return None
    shift = 5 * (np.arange(len(groups)) - np.repeat(last - lengths + 1, lengths))
    signed = groups & 31
    signed[last] -= (signed[last] & 16) << 1
    numbers = np.add.reduceat(signed << shift, last - lengths + 1) if last.size else signed
    runs = numbers.copy()
    for first in (1, 2):
        # Of at most 2^34 each: 2^29 of them would have to come together before a sum overflows.
        runs[first::2] = np.cumsum(numbers[first::2])
    return None if np.abs(runs).max(initial=0) > largest else runs
