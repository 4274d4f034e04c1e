"""The derivative with respect to the text: whole random denoisers against torch's own forward mode."""

import numpy as np
import pytest
import torch

from memscan.export.autodiff.jvp import jvp
from memscan.export.parity.oracle import DenoiserOracle
from tests.export.graph_run import error, run
from tests.export.graphs.families import FAMILIES, LATENT, TEXT, graphs, tiny_denoiser, traced

LIMIT = 1e-5
"""Relative, in the norm: the limit of the export's parity check; float32 in two orders of summation gives 1e-6."""


@pytest.mark.parametrize("family", FAMILIES)
def test_condition_graph_equals_torch_forward_mode(family: str) -> None:
    case = DenoiserOracle(tiny_denoiser(family), LATENT, TEXT).condition()
    found = run(graphs(family)["condition.onnx"], case.feed)
    assert list(found) == ["eps", "condition_product"]
    for name, values in found.items():
        assert error(values, case.expected[name]) < LIMIT, name


def test_the_pooled_text_has_a_tangent_of_its_own() -> None:
    """Stable Diffusion XL's: a difference in the pooled encoding alone moves eps, and it is the derivative's."""
    case = DenoiserOracle(tiny_denoiser("sdxl"), LATENT, TEXT).condition()
    feed = {**case.feed, "uncond_encoder_hidden_states": case.feed["encoder_hidden_states"]}
    found = run(graphs("sdxl")["condition.onnx"], feed)["condition_product"]
    assert np.linalg.norm(found) > 1e-3
    step = np.float32(1e-2)
    ends = [
        run(graphs("sdxl")["condition.onnx"], {**feed, "text_embeds": feed["text_embeds"] + side * step * direction})
        for direction in [feed["text_embeds"] - feed["uncond_text_embeds"]]
        for side in (1, -1)
    ]
    difference = (ends[0]["eps"] - ends[1]["eps"]) / (2 * step)
    assert error(found, difference) < 1e-3  # a central difference: the third derivative times 1e-4, and rounding


def test_no_difference_from_no_text_is_no_derivative() -> None:
    case = DenoiserOracle(tiny_denoiser("sd1"), LATENT, TEXT).condition()
    feed = {**case.feed, "uncond_encoder_hidden_states": case.feed["encoder_hidden_states"]}
    found = run(graphs("sd1")["condition.onnx"], feed)
    assert not found["condition_product"].any()
    assert error(found["eps"], case.expected["eps"]) < LIMIT


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_image_and_text_may_have_tangents_at_once(family: str) -> None:
    """The pass differentiates with respect to any inputs: a derivative along all is the sum of those along each."""
    denoiser = tiny_denoiser(family)
    names = [name for name in denoiser.input_shapes(1, LATENT, TEXT) if name not in ("timestep", "alpha", "sigma")]
    case = DenoiserOracle(denoiser, LATENT, TEXT).condition()
    feed = {name: array for name, array in case.feed.items() if not name.startswith("uncond_")}
    dots = {
        f"{name}_dot": torch.randn(2, *feed[name].shape, generator=torch.Generator().manual_seed(index)).numpy()
        for index, name in enumerate(names)
    }
    every = run(jvp(traced(family), wrt=names, of="eps", num_tangents=2), {**feed, **dots})["eps_dot"]
    one_by_one = [
        run(jvp(traced(family), wrt=[name], of="eps", num_tangents=2), {**feed, f"{name}_dot": dots[f"{name}_dot"]})
        for name in names
    ]
    assert error(every, sum(found["eps_dot"] for found in one_by_one)) < LIMIT
