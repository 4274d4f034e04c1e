"""Image bytes to model input and back."""

import io

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.errors import RowError
from memscan.scanner.scanning.images import load_image, to_model_range, to_pixels

SIZE = (8, 6)


def random_pixels(height: int = SIZE[0], width: int = SIZE[1]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def encoded(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def test_an_image_of_the_right_size_is_kept_exactly() -> None:
    pixels = random_pixels()
    np.testing.assert_array_equal(load_image(encoded(Image.fromarray(pixels)), SIZE), pixels)


def test_another_size_is_resized_bicubically() -> None:
    image = Image.fromarray(random_pixels(20, 10))
    expected = np.asarray(image.resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(load_image(encoded(image), SIZE), expected)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(random_pixels()).convert("L" if mode == "I;16" else mode)
    loaded = load_image(encoded(image.convert("I;16") if mode == "I;16" else image), SIZE)
    assert (loaded.shape, loaded.dtype) == ((*SIZE, 3), np.uint8)


def test_exif_orientation_is_undone() -> None:
    pixels = random_pixels()
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    turned = encoded(Image.fromarray(pixels[::-1, ::-1]), exif=exif)
    np.testing.assert_array_equal(load_image(turned, SIZE), pixels)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no known image format"),
        (b"no image at all", "no known image format"),
        (encoded(Image.fromarray(random_pixels(64, 64)))[:200], "image file is truncated"),
    ],
    ids=["empty", "text", "cut short"],
)
def test_bytes_that_are_no_image_are_the_rows_error(data: bytes, reason: str) -> None:
    with pytest.raises(RowError, match=f"^image cannot be decoded: {reason}$"):
        load_image(data, SIZE)


def test_a_decompression_bomb_is_the_rows_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(RowError, match=r"^image cannot be decoded: Image size \(48 pixels\) exceeds limit"):
        load_image(encoded(Image.fromarray(random_pixels())), SIZE)


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
