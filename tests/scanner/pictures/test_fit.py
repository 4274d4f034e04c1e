"""The three rules by which a picture of another shape is fitted."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.pictures.fit import fit_picture
from memscan.scanner.settings import Fit

RULES: tuple[Fit, ...] = ("crop", "stretch", "pad")


def pixels(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def fitted(values: NDArray[np.uint8], size: tuple[int, int], how: Fit) -> tuple[NDArray[np.uint8], str]:
    picture, done = fit_picture(Image.fromarray(values), size, how)
    return np.asarray(picture), done


def scaled(values: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("how", RULES)
def test_a_picture_of_the_right_size_is_kept_exactly(how: Fit) -> None:
    found, done = fitted(pixels(8, 6), (8, 6), how)
    np.testing.assert_array_equal(found, pixels(8, 6))
    assert done == ""


@pytest.mark.parametrize("how", RULES)
def test_a_picture_of_the_right_shape_is_only_resized(how: Fit) -> None:
    found, done = fitted(pixels(16, 12), (8, 6), how)
    np.testing.assert_array_equal(found, scaled(pixels(16, 12), 8, 6))
    assert done == "resized from 12x16"


@pytest.mark.parametrize(
    ("given", "size", "kept"),
    [
        ((8, 13), (8, 8), np.s_[:, 2:10]),  # the odd pixel goes on the right
        ((13, 8), (8, 8), np.s_[2:10, :]),
        ((20, 60), (8, 6), np.s_[:, 22:37]),
        ((60, 20), (6, 8), np.s_[22:37, :]),
        ((480, 640), (16, 16), np.s_[:, 80:560]),
        ((1, 50), (8, 8), np.s_[:, 24:25]),
        ((1, 50), (9, 3), np.s_[:, 24:25]),  # a third of a pixel is one
    ],
)
def test_crop_keeps_the_middle(given: tuple[int, int], size: tuple[int, int], kept: tuple[slice, slice]) -> None:
    """What is cut off does not shine in at the edges."""
    found, done = fitted(pixels(*given), size, "crop")
    np.testing.assert_array_equal(found, scaled(np.ascontiguousarray(pixels(*given)[kept]), *size))
    assert done == f"cropped from {given[1]}x{given[0]}"


def test_stretch_keeps_all_and_no_shape() -> None:
    found, done = fitted(pixels(20, 60), (8, 6), "stretch")
    np.testing.assert_array_equal(found, scaled(pixels(20, 60), 8, 6))
    assert done == "stretched from 60x20"


@pytest.mark.parametrize(
    ("given", "size", "inner"),
    [
        ((10, 40), (16, 16), np.s_[6:10, :]),
        ((40, 10), (16, 16), np.s_[:, 6:10]),
        ((20, 60), (9, 6), np.s_[3:5, :]),  # the odd line is white at the bottom
        ((1, 5000), (8, 8), np.s_[3:4, :]),  # never less than a line
    ],
)
def test_pad_keeps_all_and_the_rest_is_white(
    given: tuple[int, int], size: tuple[int, int], inner: tuple[slice, slice]
) -> None:
    found, done = fitted(pixels(*given), size, "pad")
    expected = np.full((*size, 3), 255, np.uint8)
    expected[inner] = scaled(pixels(*given), *expected[inner].shape[:2])
    np.testing.assert_array_equal(found, expected)
    assert done == f"padded from {given[1]}x{given[0]}"
