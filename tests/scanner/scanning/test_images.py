"""Image bytes to model input and back."""

import io

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.pictures.fit import fit_picture
from memscan.scanner.scanning.images import load_image, to_model_range, to_pixels
from memscan.scanner.settings import Fit

SIZE = (8, 6)


def random_pixels(height: int = SIZE[0], width: int = SIZE[1]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("given", "how", "source"),
    [
        (SIZE, "crop", "given"),
        ((16, 12), "crop", "given, resized from 12x16"),
        ((20, 10), "crop", "given, cropped from 10x20"),
        ((20, 10), "stretch", "given, stretched from 10x20"),
        ((20, 10), "pad", "given, padded from 10x20"),
    ],
)
def test_a_loaded_image_has_the_models_shape_and_says_how(given: tuple[int, int], how: Fit, source: str) -> None:
    picture = Image.fromarray(random_pixels(*given))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    loaded = load_image(stream.getvalue(), SIZE, how)
    np.testing.assert_array_equal(loaded.pixels, np.asarray(fit_picture(picture, SIZE, how)[0]))
    assert (loaded.pixels.shape, loaded.pixels.dtype, loaded.source) == ((*SIZE, 3), np.uint8, source)


def test_model_range_equals_diffusers() -> None:
    pixels = random_pixels()
    expected = VaeImageProcessor(do_resize=False).preprocess(Image.fromarray(pixels))[0].numpy()
    ours = to_model_range(pixels)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-7)


def test_pixels_equal_diffusers_also_outside_the_range() -> None:
    image = np.random.default_rng(1).uniform(-1.3, 1.3, (3, *SIZE)).astype(np.float32)
    (expected,) = VaeImageProcessor().postprocess(torch.from_numpy(image)[None], output_type="pil")
    np.testing.assert_array_equal(to_pixels(image), np.asarray(expected))


def test_pixels_survive_the_round_trip() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(to_pixels(to_model_range(pixels)), pixels)


def test_a_broken_image_is_black_without_a_warning() -> None:
    broken = np.full((3, *SIZE), np.nan, np.float32)
    assert not to_pixels(broken).any()
