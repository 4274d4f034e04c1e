"""What the sampler's way says of an image: which steps count, which answers leave the device, and for whom."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.samples import Sample
from memscan.scanner.settings import Reference
from tests.default_maps import MAPS
from tests.scanner.scanning.closed_form import FLOAT32, SAMPLES, SETTINGS, TIMESTEPS, at_steps, run, scanned
from tests.scanner.scanning.one_by_one import Image
from tests.scanner.scanning.test_scan_given_images import given_image_sample

OF_SAMPLING = ("guidance_norm", "guidance_first", "update_norm")
REFERENCE = Reference("update_z", TIMESTEPS, (1.0,) * 10, (0.5,) * 10)
ALL = dataclasses.replace(SETTINGS, metrics=tuple(METRICS), references=(REFERENCE,))


@pytest.fixture(scope="module")
def bundle(analytic: Path) -> Bundle:
    return open_bundle(analytic)


def scan(bundle: Bundle, samples: list[Sample], batch_size: int = 8, **changes: Any) -> list[Image]:
    return [scanned(result) for result in run(bundle, samples, dataclasses.replace(ALL, **changes), batch_size)]


def assert_scores_equal(first: Image, second: Image, position: int, other: int) -> None:
    one, two = first.steps[position].scores, second.steps[other].scores
    assert list(one) == list(two)
    for name, value in one.items():
        assert value == pytest.approx(two[name], rel=1e-5, abs=256 * FLOAT32 if name == "flipd" else FLOAT32), name


def test_a_row_does_not_depend_on_which_other_steps_are_measured(bundle: Bundle) -> None:
    several = scan(bundle, SAMPLES, steps=at_steps(0, 4, 7))
    for position, index in enumerate((0, 4, 7)):
        for image, alone in zip(several, scan(bundle, SAMPLES, steps=at_steps(index)), strict=True):
            assert_scores_equal(image, alone, position, 0)


def test_scores_do_not_depend_on_the_batch(bundle: Bundle) -> None:
    for image, alone in zip(scan(bundle, SAMPLES, 3), scan(bundle, SAMPLES, 1), strict=True):
        for position in range(3):
            assert_scores_equal(image, alone, position, position)


def test_given_images_have_no_way_and_sampled_ones_beside_them_keep_theirs(bundle: Bundle) -> None:
    given, _ = given_image_sample(20, "a red memorized mug", 11)
    other, _ = given_image_sample(21, "a rug", 12)
    of_state = [name for name, metric in METRICS.items() if metric.kind == "score" and metric.when == "measured"]
    mixed = scan(bundle, [given, SAMPLES[1], other, SAMPLES[2]])
    for image in (mixed[0], mixed[2], *scan(bundle, [given])):
        assert [list(step.scores) for step in image.steps] == [of_state] * 3
        assert [step.error for step in image.steps] == [None] * 3
        assert all("ds_path" not in step.maps and "ds_uncond" in step.maps for step in image.steps)
    for image, alone in zip((mixed[1], mixed[3]), scan(bundle, SAMPLES[1:3]), strict=True):
        for position in range(3):
            assert_scores_equal(image, alone, position, position)


def test_without_scores_of_sampling_no_step_is_copied_to_the_host(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[tuple[int, ...]] = []
    original = Graphs.download

    def download(self: Graphs, value: Any) -> Any:
        downloads.append(value.shape)
        return original(self, value)

    monkeypatch.setattr(Graphs, "download", download)

    def latents_copied(**changes: Any) -> int:
        downloads.clear()
        scan(bundle, SAMPLES[:2], steps=at_steps(7), **changes)
        return sum(len(shape) == 4 and shape[0] == 2 and shape[1] == 4 for shape in downloads)

    maps = latents_copied(metrics=MAPS)
    assert maps == 2 * 2 * 3  # eps and v * (J v) of two groups of probes, for three conditions
    assert latents_copied(metrics=(*MAPS, "guidance_first")) == maps + 2
    assert latents_copied(metrics=(*MAPS, "guidance_norm")) == maps + 2 * 7
    assert latents_copied(metrics=(*MAPS, "guidance_norm"), save_images=True) == maps + 2 * 7 + 2
    # None after the last but x and the denoised estimate there, of which the host takes the step.
    assert latents_copied(metrics=(*MAPS, *OF_SAMPLING)) == maps + 4 * 7


def test_scores_of_sampling_take_no_step_more_than_the_maps(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("step", "measure"):
        original = getattr(Graphs, name)

        def counted(self: Graphs, *rest: Any, name: str = name, original: Any = original, **named: Any) -> Any:
            calls.append(name)
            return original(self, *rest, **named)

        monkeypatch.setattr(Graphs, name, counted)

    def counts(*metrics: str, mask_map: str = "dh_uncond") -> tuple[int, int]:
        calls.clear()
        scan(bundle, SAMPLES[:1], steps=at_steps(7), metrics=metrics, mask_map=mask_map)
        return calls.count("step"), calls.count("measure")

    assert counts(*MAPS) == counts(*MAPS, *OF_SAMPLING) == (7, 3 * 2)
    assert counts(*MAPS, "flipd") == (7, 4 * 2)
    assert counts(*MAPS, "ds_path", "cosine_uncond", "dsm", "dcs", "one_step_error") == (7, 3 * 2)
    assert counts(*MAPS, "late_cosine", "anisotropy") == (7 + 1, 3 * 2)
    assert counts(*MAPS, "sharpness", "hessian_score") == (7, 3 * 2 + 4)
    assert counts("ds_uncond", mask_map="ds_uncond") == (7 + 1, 0)  # eps of both from a guided step
    assert counts("dh_base", "guidance_norm", mask_map="dh_base") == (7 + 1, 2 * 2)


def test_maps_and_scores_of_a_guided_step_equal_those_of_measuring_calls(bundle: Bundle) -> None:
    """Without a measuring call of none, eps of none is that of a guided step."""
    metrics = ("dh_base", "ds_uncond", "ds_base", "guidance_norm")
    for image, reference in zip(scan(bundle, SAMPLES, metrics=metrics), scan(bundle, SAMPLES), strict=True):
        for step, expected in zip(image.steps, reference.steps, strict=True):
            assert list(step.maps) == ["dh_base", "ds_uncond", "ds_base"]
            for name, values in step.maps.items():
                np.testing.assert_allclose(values, expected.maps[name], rtol=FLOAT32, atol=FLOAT32, err_msg=name)
            assert step.scores["guidance_norm"] == pytest.approx(expected.scores["guidance_norm"], rel=1e-5)


def test_scores_that_are_not_finite_are_an_error_of_their_image_alone(bundle: Bundle) -> None:
    samples = [SAMPLES[0], Sample(30, 0, "a broken poster")]
    before, broken = scan(bundle, samples, steps=at_steps(0, 9), metrics=("h_cond", *OF_SAMPLING, "flipd"))
    assert [step.error for step in before.steps] == [None, None]
    assert [step.error for step in broken.steps] == [
        "not finite at timestep 901: h_cond, guidance_norm, guidance_first, flipd",
        "not finite at timestep 1: h_cond, guidance_norm, guidance_first, update_norm, flipd",
    ]
    assert [step.scores for step in broken.steps] == [{}, {}]
