"""COCO's run-length encoding: written byte for byte as pycocotools does, and read more strictly."""

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from memscan.scanner.results.rle import decode, encode

SMALL = [(height, width) for height in range(1, 11) for width in range(1, 11) if height * width <= 10]


def as_pycocotools(masks: NDArray[np.bool_]) -> list[bytes]:
    """The counts of the masks [N, h, w]."""
    encoded = coco.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8))
    return [one["counts"] for one in encoded]


def agree(masks: NDArray[np.bool_]) -> None:
    counts = encode(masks)
    assert counts == as_pycocotools(masks)
    for mask, one in zip(masks, counts, strict=True):
        np.testing.assert_array_equal(decode(one, *mask.shape), mask, strict=True)
        np.testing.assert_array_equal(decode(one.decode(), *mask.shape), mask)


@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_every_small_mask_is_written_as_pycocotools_writes_it(shape: tuple[int, int]) -> None:
    pixels = shape[0] * shape[1]
    agree((np.arange(2**pixels)[:, None] >> np.arange(pixels) & 1).astype(bool).reshape(-1, *shape))


@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (37, 53), (64, 64), (333, 1000)], ids=str)
@pytest.mark.parametrize("density", [0.001, 0.5, 0.999])
def test_random_masks_are_written_as_pycocotools_writes_them(shape: tuple[int, int], density: float) -> None:
    agree(np.random.default_rng(0).random((3, *shape)) < density)


@pytest.mark.parametrize("side", [1, 31, 32, 33, 181, 1024, 5793], ids=str)
def test_empty_and_full_masks_are_written_as_pycocotools_writes_them(side: int) -> None:
    """Runs of up to 2^25 pixels: each number of groups, and each sign of the last one."""
    for value in (False, True):
        agree(np.full((1, side, side), value))


def test_runs_that_shrink_are_written_as_negative_differences() -> None:
    lengths = np.array([1, 5000, 4000, 3, 2, 4999, 1, 1, 1, 20000])
    agree(np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(1, -1, 1))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)], ids=str)
def test_a_mask_without_pixels_comes_back(shape: tuple[int, int]) -> None:
    assert decode(encode(np.zeros((1, *shape), bool))[0], *shape).shape == shape


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        (b"", "mask is not a COCO RLE of 4 x 4 pixels"),
        (b"01", "mask is not a COCO RLE of 4 x 4 pixels"),
        (b"`1", "mask is not a COCO RLE of 4 x 4 pixels"),
        (b"`", "mask is not a COCO RLE: it ends within a number"),
        (b"\x00", "mask is not a COCO RLE: it holds the byte 0"),
        (b"4\xff", "mask is not a COCO RLE: it holds the byte 255"),
        ("4é", "mask is not a COCO RLE: it holds the character 'é'"),
        ("4\udc80", r"mask is not a COCO RLE: it holds the character '\\udc80'"),
        (b"T" * 20 + b"4", "mask is not a COCO RLE of 4 x 4 pixels"),
        (b"4" * 1000, "mask is not a COCO RLE of 4 x 4 pixels"),
    ],
)
def test_what_pycocotools_reads_from_uninitialised_memory_is_refused(counts: bytes | str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        decode(counts, 4, 4)


@pytest.mark.parametrize(
    ("height", "width", "problem"),
    [
        (100_000, 100_000, "a mask of 100000 x 100000 pixels is too large: 67108864 pixels are the most"),
        (-1, 4, "a mask of -1 x 4 pixels is too large: 67108864 pixels are the most"),
        (4, 4, "mask is not a COCO RLE of 4 x 4 pixels"),
    ],
)
def test_twenty_bytes_never_become_gigabytes(height: int, width: int, problem: str) -> None:
    counts = b"PPX2b9" + b"0" * 14  # a first run of 10^10 pixels
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"^{problem}$"):
            decode(counts, height, width)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_the_bound_is_the_readers_to_choose() -> None:
    (counts,) = encode(np.ones((1, 5, 5), bool))
    assert decode(counts, 5, 5, max_pixels=25).all()
    with pytest.raises(ValueError, match=r"^a mask of 5 x 5 pixels is too large: 24 pixels are the most$"):
        decode(counts, 5, 5, max_pixels=24)
