"""Images that a manifest brings: noised to each level instead of sampled, beside sampled rows in one batch."""

import dataclasses
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from memscan.scanner.bundle import Bundle
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.samples import Sample
from memscan.scanner.sampling.ddim import ddim_timesteps
from tests.analytic_bundle import IMAGE, write_analytic_bundle
from tests.analytic_model import analytic_model
from tests.scanner.scanning.closed_form import (
    FLOAT32,
    SAMPLES,
    SETTINGS,
    assert_maps_equal,
    expected_maps,
    level,
    run,
    sampled_states,
    scanned,
    torch_noise,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_analytic_bundle(tmp_path_factory.mktemp("bundles") / "analytic")


def encoded_image(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def given_image_sample(row: int, prompt: str, seed: int) -> tuple[Sample, NDArray[np.uint8]]:
    pixels = np.random.default_rng(row).integers(0, 256, (*IMAGE, 3), np.uint8)
    return Sample(row, seed, prompt, image=encoded_image(pixels)), pixels


def expected_given_states(bundle: Bundle, pixels: NDArray[np.uint8], seed: int) -> list[NDArray[np.float64]]:
    """alpha x_0 + sigma noise at every timestep, x_0 by the analytic encoder: block means, and their grey."""
    blocks = (pixels / 127.5 - 1).reshape(8, 4, 8, 4, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    x_0 = np.concatenate([blocks, blocks.mean(axis=0, keepdims=True)])
    levels = [level(bundle, t) for t in ddim_timesteps(bundle.schedule, SETTINGS.num_inference_steps)]
    return [alpha * x_0 + sigma * torch_noise(seed) for alpha, sigma in levels]


def test_given_images_are_noised_and_mix_with_sampled_rows(bundle: Bundle) -> None:
    timesteps = ddim_timesteps(bundle.schedule, SETTINGS.num_inference_steps)
    (first, first_pixels), (last, last_pixels) = (
        given_image_sample(20, "a red memorized mug", 11),
        given_image_sample(21, "a rug", 12),
    )
    samples = [first, SAMPLES[1], last, SAMPLES[2]]
    states = [
        expected_given_states(bundle, first_pixels, 11),
        sampled_states(bundle, SAMPLES[1], SETTINGS.guidance_scale),
        expected_given_states(bundle, last_pixels, 12),
        sampled_states(bundle, SAMPLES[2], SETTINGS.guidance_scale),
    ]
    results = run(bundle, samples, dataclasses.replace(SETTINGS, save_images=True), batch_size=4)
    for sample, state, result in zip(samples, states, results, strict=True):
        expected = [expected_maps(bundle, state[i], sample.prompt, timesteps[i]) for i in (0, 7, 9)]
        assert scanned(result).sample is sample
        assert_maps_equal(scanned(result), expected)
    np.testing.assert_array_equal(scanned(results[0]).image, first_pixels)
    np.testing.assert_array_equal(scanned(results[2]).image, last_pixels)


def test_a_batch_of_given_images_alone_samples_nothing(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Graphs, "step", None)
    sample, pixels = given_image_sample(0, "a mug", 3)
    (result,) = run(bundle, [sample], dataclasses.replace(SETTINGS, save_images=True))
    alpha, sigma = level(bundle, 201)
    x = expected_given_states(bundle, pixels, 3)[7]
    model = analytic_model()
    expected = (model.eps(x, "a mug", alpha, sigma) - model.eps(x, "", alpha, sigma)) ** 2
    np.testing.assert_allclose(scanned(result).steps[1].maps["ds_uncond"], expected.mean(axis=0), atol=FLOAT32)
