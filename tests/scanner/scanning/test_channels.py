"""What a denoiser is shown of a row's pictures, against torch's resampling and diffusers' processors."""

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.bundle import Bundle
from memscan.scanner.bundle_parts import ChannelKind, Channels, Takes
from memscan.scanner.errors import RowError
from memscan.scanner.samples import Sample
from memscan.scanner.scanning.channels import Shown, channels_of, shown_to
from tests.analytic_bundle import IMAGE, write_analytic_bundle
from tests.analytic_model import LATENT

COLOURS = np.random.default_rng(0).integers(0, 256, (*IMAGE, 3), np.uint8)
GREY = np.random.default_rng(1).integers(0, 256, IMAGE, np.uint8)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_analytic_bundle(tmp_path_factory.mktemp("bundles") / "analytic")


def taking(plain: Bundle, kind: ChannelKind, count: int, scale: float = 1.0) -> Bundle:
    return dataclasses.replace(plain, takes=Takes(channels=Channels(kind, count, scale)))


def png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def shown(bundle: Bundle, *, condition_image: bytes | None = None, condition_mask: bytes | None = None) -> Shown | None:
    sample = Sample(0, 0, "a mug", condition_image=condition_image, condition_mask=condition_mask)
    return shown_to(bundle, sample, "crop")


class Means:
    """Encodes images [N, 3, H, W] to latents: each channel is the mean of an image's first one."""

    def encode_image(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.broadcast_to(images[:, :1].mean(axis=(2, 3), keepdims=True), (len(images), *LATENT))


def test_inpainting_is_shown_mask_and_picture_as_diffusers_makes_them(plain: Bundle) -> None:
    found = shown(taking(plain, "inpainting", 5), condition_image=png(COLOURS), condition_mask=png(GREY))
    assert found is not None
    mask = VaeImageProcessor(do_normalize=False, do_binarize=True, do_convert_grayscale=True).preprocess(
        Image.fromarray(GREY)
    )
    picture = VaeImageProcessor().preprocess(Image.fromarray(COLOURS)) * (mask < 0.5)
    assert found.plane is not None and found.pixels is not None
    np.testing.assert_array_equal(found.plane, torch.nn.functional.interpolate(mask, size=LATENT[1:])[0].numpy())
    np.testing.assert_allclose(found.pixels, picture[0].numpy(), rtol=0, atol=2e-7)


def test_without_pictures_all_is_masked(plain: Bundle) -> None:
    found = shown(taking(plain, "inpainting", 5))
    assert found is not None and found.plane is not None and found.pixels is not None
    assert found.plane.shape == (1, *LATENT[1:]) and (found.plane == 1).all()
    assert found.pixels.shape == (3, *IMAGE) and not found.pixels.any()


def test_depth_is_resampled_as_torch_does_and_brought_to_one(plain: Bundle) -> None:
    found = shown(taking(plain, "depth", 1), condition_image=png(GREY))
    depth = torch.nn.functional.interpolate(
        torch.from_numpy(GREY.astype(np.float64))[None, None], size=LATENT[1:], mode="bicubic", align_corners=False
    )[0].numpy()
    expected = 2 * (depth - depth.min()) / (depth.max() - depth.min()) - 1
    assert found is not None and found.plane is not None and found.pixels is None
    np.testing.assert_allclose(found.plane, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pictures", [{}, {"condition_image": png(np.full(IMAGE, 7, np.uint8))}], ids=["none", "flat"])
def test_no_depth_and_a_flat_one_are_zero(plain: Bundle, pictures: dict[str, bytes]) -> None:
    found = shown(taking(plain, "depth", 1), **pictures)
    assert found is not None and found.plane is not None
    assert not found.plane.any()


def test_channels_are_those_of_each_image_by_itself(plain: Bundle) -> None:
    """The picture's latents are scaled, and behind the mask; a row without a picture has zeros where it is edited."""
    editing = taking(plain, "edit", LATENT[0], scale=2.0)
    images = [shown(editing, condition_image=png(COLOURS)), shown(editing)]
    made = channels_of(editing, Means(), [one for one in images if one is not None])  # type: ignore[arg-type]
    mean = COLOURS[..., 0].mean() / 127.5 - 1
    np.testing.assert_allclose(made[0], np.full(LATENT, 2 * mean), atol=1e-5)
    assert not made[1].any()
    painting = taking(plain, "inpainting", 1 + LATENT[0])
    found = shown(painting, condition_image=png(COLOURS), condition_mask=png(np.zeros(IMAGE, np.uint8)))
    assert found is not None
    (channels,) = channels_of(painting, Means(), [found])  # type: ignore[arg-type]
    assert not channels[0].any()
    np.testing.assert_allclose(channels[1:], np.full(LATENT, mean), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "pictures", "error"),
    [
        (None, {"condition_image": b""}, "this model takes no condition_image: leave the column out"),
        ("depth", {"condition_mask": b""}, "this model takes no condition_mask: leave the column out"),
        ("inpainting", {"condition_image": b""}, "the row has condition_image and no condition_mask"),
        ("inpainting", {"condition_mask": b""}, "the row has condition_mask and no condition_image"),
        ("edit", {"condition_image": b"junk"}, "condition_image: image cannot be decoded"),
    ],
)
def test_pictures_that_cannot_be_shown_are_errors_of_the_row(
    plain: Bundle, kind: Any, pictures: dict[str, bytes], error: str
) -> None:
    with pytest.raises(RowError, match=error):
        shown(plain if kind is None else taking(plain, kind, 5), **pictures)


def test_a_model_that_takes_none_is_shown_none(plain: Bundle) -> None:
    assert shown(plain) is None
