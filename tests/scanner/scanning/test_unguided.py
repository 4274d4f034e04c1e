"""Sampling without guidance, by a graph of steps with the prompt alone: the same results for half the price."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from memscan.scanner.bundle import Bundle
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.model.graphs import Graphs, StepAnswer
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.samples import Sample
from memscan.scanner.settings import Reference
from tests.analytic_bundle import write_analytic_bundle
from tests.scanner.scanning.closed_form import SAMPLES, SETTINGS, TIMESTEPS, at_steps, run, scanned
from tests.scanner.scanning.one_by_one import Image
from tests.scanner.scanning.test_scan_given_images import given_image_sample

REFERENCE = Reference("update_z", TIMESTEPS, (1.0,) * 10, (0.5,) * 10)
OFF = dataclasses.replace(SETTINGS, guidance_scale=1.0, references=(REFERENCE,))


@pytest.fixture(scope="module")
def of_both(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """It asks for the prompt and for none at every step."""
    return write_analytic_bundle(tmp_path_factory.mktemp("bundles") / "both")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_analytic_bundle(tmp_path_factory.mktemp("bundles") / "alone", unguided=True)


@pytest.fixture
def steps_run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each step of the denoiser was run with."""
    found: list[str] = []
    whole = Graphs.step

    def step(
        graphs: Graphs, sample: Value, step: Any, cond: Any, uncond: Mapping[str, Value] | None, *rest: Any
    ) -> StepAnswer:
        found.append("both" if uncond is not None else "prompt")
        return whole(graphs, sample, step, cond, uncond, *rest)

    monkeypatch.setattr(Graphs, "step", step)
    return found


def scan(bundle: Bundle, samples: Sequence[Sample], **changes: Any) -> list[Image]:
    return [scanned(result) for result in run(bundle, samples, dataclasses.replace(OFF, **changes))]


@pytest.mark.parametrize(
    "metrics",
    [
        ("dh_uncond", "ds_uncond"),
        ("h_cond",),
        ("dh_base", "ds_base", "guidance_norm"),
        ("ds_base", "one_step_error", "dcs"),
        ("flipd", "guidance_first"),
        tuple(METRICS),
    ],
    ids=lambda names: "+".join(names) if len(names) < 4 else "all",
)
@pytest.mark.parametrize("given", [False, True], ids=["sampled", "one given"])
def test_results_equal_those_of_both_conditions(
    given: bool, metrics: tuple[str, ...], of_both: Bundle, alone: Bundle
) -> None:
    samples = [*([given_image_sample(20, "a red memorized mug", 11)[0]] if given else []), *SAMPLES]
    settings = {"metrics": metrics, "steps": at_steps(0, 4, 7), "save_images": True}
    for expected, found in zip(scan(of_both, samples, **settings), scan(alone, samples, **settings), strict=True):
        assert found.image is not None and expected.image is not None
        assert np.abs(found.image.astype(int) - expected.image).max() <= 1  # a rounding to 8 bits on either side
        for one, other in zip(expected.steps, found.steps, strict=True):
            assert one.error is other.error is None
            assert list(one.maps) == list(other.maps) and list(one.scores) == list(other.scores)
            for name, values in one.maps.items():
                np.testing.assert_allclose(other.maps[name], values, rtol=1e-6, atol=1e-6, err_msg=name)
            assert other.scores == pytest.approx(one.scores, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("metrics", "images", "expected"),
    [
        (("dh_uncond",), False, ["prompt"] * 6),  # the step from state 4 is taken on the host
        (("h_cond",), False, ["prompt"] * 6),
        (("ds_uncond",), False, ["prompt"] * 4 + ["both"] + ["prompt"] * 2 + ["both"]),  # both where it is measured
        (("ds_base",), False, ["prompt"] * 8),
        (("dh_uncond", "guidance_norm"), False, ["both"] * 6),
        (("dh_uncond", "guidance_norm"), True, ["both"] * 6 + ["prompt"] * 2),  # behind the last measured state
        (("dh_uncond", "guidance_first"), False, ["both"] + ["prompt"] * 5),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "images" if value is True else "",
)
def test_none_is_asked_only_where_a_metric_wants_it(
    metrics: tuple[str, ...], images: bool, expected: list[str], alone: Bundle, steps_run: list[str]
) -> None:
    scan(alone, SAMPLES[:1], metrics=metrics, steps=at_steps(4, 7), save_images=images)
    assert steps_run == expected


@pytest.mark.parametrize("guidance", [1.5, 7.5])
def test_with_guidance_both_are_asked(guidance: float, alone: Bundle, steps_run: list[str]) -> None:
    scan(alone, SAMPLES[:1], metrics=("dh_base",), steps=at_steps(3), guidance_scale=guidance)
    assert steps_run == ["both"] * 3


def test_a_bundle_without_the_graph_asks_for_both(of_both: Bundle, steps_run: list[str]) -> None:
    scan(of_both, SAMPLES[:1], metrics=("dh_base",), steps=at_steps(3))
    assert steps_run == ["both"] * 3
