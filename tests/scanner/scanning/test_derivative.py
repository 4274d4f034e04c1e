"""A scan by another kind of derivative calls that kind's graphs, and its maps of curvature are that kind's."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.runtimes.onnx_runtime import OnnxRuntime
from memscan.scanner.sampling.ddim import ddim_timesteps
from tests.analytic_bundle import SHALLOW
from tests.scanner.scanning.closed_form import (
    FLOAT32,
    SAMPLES,
    SETTINGS,
    at_steps,
    expected_maps,
    run,
    sampled_states,
    scanned,
)

OF_CURVATURE = ("dh_uncond", "dh_base", "h_cond")


@pytest.fixture
def bundle(analytic: Path) -> Bundle:
    return open_bundle(analytic)


def test_maps_of_curvature_are_the_kinds_and_all_others_the_same(bundle: Bundle) -> None:
    settings = dataclasses.replace(SETTINGS, derivative="shallow")
    timesteps = ddim_timesteps(bundle.schedule, SETTINGS.num_inference_steps)
    for sample, result in zip(SAMPLES[:3], run(bundle, SAMPLES[:3], settings), strict=True):
        states = sampled_states(bundle, sample, SETTINGS.guidance_scale)
        for index, step in zip((0, 7, 9), scanned(result).steps, strict=True):
            for name, values in expected_maps(bundle, states[index], sample.prompt, timesteps[index]).items():
                slope = SHALLOW if name in OF_CURVATURE else 1.0
                np.testing.assert_allclose(
                    step.maps[name], slope * values, rtol=FLOAT32, atol=FLOAT32, err_msg=f"{name} at {index}"
                )


@pytest.mark.parametrize("derivative", ["exact", "shallow"])
def test_no_measuring_graph_of_another_kind_is_called(
    bundle: Bundle, derivative: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = set()
    original = OnnxRuntime.run

    def watched(self: OnnxRuntime, graph: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        called.add(graph)
        return original(self, graph, inputs)

    monkeypatch.setattr(OnnxRuntime, "run", watched)
    metrics = (*SETTINGS.metrics, "flipd")  # measured at the denoised image too
    run(bundle, SAMPLES[:1], dataclasses.replace(SETTINGS, derivative=derivative, metrics=metrics, steps=at_steps(7)))
    graph = "measure.onnx" if derivative == "exact" else "measure.shallow.onnx"
    assert {name for name in called if "measure" in name} == {graph, f"baseline/{graph}"}
