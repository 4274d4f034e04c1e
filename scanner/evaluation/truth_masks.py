"""Masks of a ground truth in the forms that people have them in, each checked before anything of its size is made.

counts      compressed COCO RLE, bytes or text, with the size in columns of its own
dictionary  {"size": [height, width], "counts": ...} as pycocotools gives it, the counts compressed or a list
rows        lists of 0 and 1 (or false and true), all of one length
"""

import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from memscan.scanner.evaluation.protocol import SIZE
from memscan.scanner.evaluation.resize import nearest
from memscan.scanner.input import values
from memscan.scanner.input.rows import Unreadable
from memscan.scanner.records import shown
from memscan.scanner.results.rle import MAX_PIXELS, decode

Mask = NDArray[np.bool_]

types = pa.types


def is_number(kind: pa.DataType) -> bool:
    """Whether a column can hold pixels or their number."""
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind)


def is_mask(kind: pa.DataType) -> bool:
    """Whether a column can hold masks in one of the forms."""
    if types.is_struct(kind):
        members = {field.name: field.type for field in kind}
        return members.keys() >= {"size", "counts"} and all(_is_flat(members[name]) for name in ("size", "counts"))
    return _is_flat(kind) or (values.is_list(kind) and _is_flat(kind.value_type))


def masks(array: pa.Array) -> list[Any]:
    """What `read_mask` takes, of a column for which `is_mask` holds; None where there is none."""
    if types.is_struct(array.type):
        sizes, counts = (masks(array.field(name)) for name in ("size", "counts"))
        valid = array.is_valid().to_pylist()
        pairs = zip(sizes, counts, valid, strict=True)
        return [{"size": size, "counts": count} if ok else None for size, count, ok in pairs]
    return values.images(array) if values.is_text(array.type) or values.is_bytes(array.type) else array.to_pylist()


def read_mask(value: Any, height: Any, width: Any) -> Mask:
    """A mask [h, w]; `height` and `width` are those of plain counts.

    Raises:
        ValueError: it is none of the known forms, malformed, empty, or too large.
    """
    if isinstance(value, dict):
        size = value.get("size")
        if not isinstance(size, list | tuple) or len(size) != 2:
            raise ValueError(f"the size of the mask is {shown(size)}, not [height, width]")
        return _decoded(value.get("counts"), *size)
    if isinstance(value, list):
        return _of_rows(value)
    return _decoded(value, height, width)


def condensed(mask: Mask) -> Mask:
    """A mask in which every protocol counts the same pixels, of SIZE x SIZE at most: many of them fit into memory."""
    return mask if mask.size <= SIZE * SIZE else nearest(mask, SIZE)


def _is_flat(kind: pa.DataType) -> bool:
    if values.is_list(kind):
        return is_number(kind.value_type)
    return values.is_text(kind) or values.is_bytes(kind) or types.is_null(kind)


def _decoded(counts: Any, height: Any, width: Any) -> Mask:
    height, width = _side("mask_height", height), _side("mask_width", width)
    if height * width > MAX_PIXELS:
        raise ValueError(f"a mask of {height} x {width} pixels is too large: {MAX_PIXELS} pixels are the most")
    if isinstance(counts, list):
        return _of_runs(counts, height, width)
    if isinstance(counts, Unreadable):
        raise ValueError(f"the counts of the mask: the text {counts.why}")
    if not isinstance(counts, bytes | str):
        raise ValueError(f"the counts of the mask are {shown(counts)}, not a COCO RLE")
    return decode(counts, height, width)


def _side(name: str, value: Any) -> int:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise ValueError(f"{name} is null")
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != value // 1
        or not 1 <= value <= MAX_PIXELS
    ):
        raise ValueError(f"{name} is {shown(value)}, not a number of pixels")
    return int(value)


def _of_runs(runs: list[Any], height: int, width: int) -> Mask:
    if not all(isinstance(run, int) and 0 <= run <= MAX_PIXELS for run in runs) or sum(runs) != height * width:
        raise ValueError(f"the counts of the mask are no run lengths of {height} x {width} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _of_rows(rows: list[Any]) -> Mask:
    if not rows or not all(isinstance(row, list) for row in rows):
        raise ValueError("the mask is a list, but not of rows of 0 and 1")
    if not all(value in (0, 1) for row in rows for value in row):
        raise ValueError("the mask is a list of other numbers than 0 and 1: polygons are not read, give COCO RLE")
    if not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("the rows of the mask are empty, or of different lengths")
    return np.array(rows, dtype=np.float32) != 0
