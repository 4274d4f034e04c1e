"""PNG and TIFF files byte by byte, of kinds that Pillow reads but does not write."""

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""Colour types of PNG."""

LONG, SHORT = 4, 3


def png(samples: NDArray[np.uint8] | NDArray[np.uint16], colour_type: int, **chunks: bytes) -> bytes:
    """A PNG of 8 or 16 bits, as the dtype of `samples` [H, W] or [H, W, C] says, with `chunks` before its pixels."""
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize, colour_type, 0, 0, 0)
    big = samples.astype(samples.dtype.newbyteorder(">"))
    lines = b"".join(b"\0" + line.tobytes() for line in big)
    return png_of_chunks({"IHDR": header, **chunks, "IDAT": zlib.compress(lines), "IEND": b""})


def png_of_chunks(chunks: Mapping[str, bytes]) -> bytes:
    encoded = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks.items():
        typed = name.encode() + content
        encoded += struct.pack(">I", len(content)) + typed + struct.pack(">I", zlib.crc32(typed))
    return encoded


def tiff(
    data: bytes,
    size: tuple[int, int],
    *,
    bits: Sequence[int],
    photometric: int,
    order: str = "<",
    strips: int = 1,
    **tags: int,
) -> bytes:
    """An uncompressed TIFF of `size` (H, W), whose `data` is cut into equal strips.

    Args:
        photometric: 0 grey, white is 0; 1 grey; 2 RGB; 5 CMYK; 6 YCbCr; 8 Lab.
        order: of bytes, "<" or ">".
        tags: further ones by number, "t339" for 339.
    """
    height, width = size
    start, step = 8, len(data) // strips
    rows = height if len(bits) == strips or strips == 1 else height // strips
    values: dict[int, tuple[int, Sequence[int]]] = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, bits),
        259: (SHORT, [1]),
        262: (SHORT, [photometric]),
        273: (LONG, [start + step * i for i in range(strips)]),
        277: (SHORT, [len(bits)]),
        278: (LONG, [rows]),
        279: (LONG, [step] * strips),
        **{int(name[1:]): (SHORT, [value]) for name, value in tags.items()},
    }
    directory = start + len(data)
    overflow = directory + 2 + 12 * len(values) + 4
    entries, late = b"", b""
    for number, (kind, numbers) in sorted(values.items()):
        packed = struct.pack(f"{order}{len(numbers)}{'I' if kind == LONG else 'H'}", *numbers)
        if len(packed) > 4:
            packed, late = struct.pack(f"{order}I", overflow + len(late)), late + packed
        entries += struct.pack(f"{order}HHI", number, kind, len(numbers)) + packed.ljust(4, b"\0")
    magic = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, directory)
    return magic + data + struct.pack(f"{order}H", len(values)) + entries + bytes(4) + late
