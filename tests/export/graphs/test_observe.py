"""The observing graph of random denoisers against diffusers' own modules; denoisers that have nothing to observe."""

import functools

import numpy as np
import onnx_ir as ir
import pytest
import torch
from diffusers import UNet2DConditionModel

from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.graphs.graphs import denoiser_graphs, given_by
from memscan.export.graphs.observe import observe_graph
from memscan.export.graphs.trace import trace_denoiser
from memscan.export.parity.oracle import Case, DenoiserOracle
from memscan.export.passes.sliced_attention import SliceAttention
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from tests.export.graphs.families import FAMILIES, LATENT, TEXT, graphs, tiny_denoiser, traced

LIMIT = 1e-5
"""Relative, in the norm: float32 in two orders of summation gives 1e-6."""
OUTPUTS = ["last_token_attention", "token_attention", "bottleneck"]
UNEVEN = (4, 9, 14)
"""A latent shape whose sides are odd once they are halved: 5 x 7, then 3 x 4."""


@functools.cache
def denoiser(*, down: str = "CrossAttnDownBlock2D", mid: str | None = "UNetMidBlock2DCrossAttn") -> EpsDenoiser:
    """Three levels; attention to text at the middle one, in the middle block and on the way up, or in less of them."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=UNEVEN[1:],
        block_out_channels=(8, 16, 16),
        down_block_types=("DownBlock2D", down, "DownBlock2D"),
        up_block_types=("UpBlock2D", down.replace("Down", "Up"), "UpBlock2D"),
        mid_block_type=mid,
        layers_per_block=(1, 2, 1),
        cross_attention_dim=TEXT[1],
        attention_head_dim=(2, 4, 4),
        norm_num_groups=4,
    )
    return EpsDenoiser(unet.eval().requires_grad_(False), "epsilon")


def observe(of: EpsDenoiser) -> ir.Model | None:
    return observe_graph(trace_denoiser(of, UNEVEN, TEXT))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_observed_as_its_modules_are(family: str) -> None:
    model = graphs(family)["observe.onnx"]
    assert [value.name for value in model.graph.outputs] == OUTPUTS
    assert_equal(model, DenoiserOracle(tiny_denoiser(family), LATENT, TEXT).observe())


def test_attention_below_the_latents_resolution_is_enlarged_as_torch_enlarges() -> None:
    model = observe(denoiser())
    assert model is not None
    assert [str(value.shape) for value in model.graph.outputs] == ["[N,1,9,14]", "[N,7]", "[N,16,3,4]"]
    assert_equal(model, DenoiserOracle(denoiser(), UNEVEN, TEXT).observe())


def test_weights_of_attention_are_what_they_are() -> None:
    """Each position's weights add up to one, and so do the tokens' means; with equal keys all tokens are equal."""
    case = DenoiserOracle(tiny_denoiser("sd1"), LATENT, TEXT).observe()
    session = _session(graphs("sd1")["observe.onnx"])
    _, tokens, _ = session.run(OUTPUTS, case.feed)
    np.testing.assert_allclose(tokens.sum(axis=1), 1, rtol=1e-5)
    same = {**case.feed, "encoder_hidden_states": np.ones_like(case.feed["encoder_hidden_states"])}
    last, tokens, _ = session.run(OUTPUTS, same)
    np.testing.assert_allclose(last, 1 / TEXT[0], rtol=1e-5)
    np.testing.assert_allclose(tokens, 1 / TEXT[0], rtol=1e-5)


def test_only_what_there_is_is_an_output() -> None:
    middle = denoiser(down="DownBlock2D")
    found = observe(middle)
    assert found is not None
    assert [value.name for value in found.graph.outputs] == OUTPUTS[1:]  # the middle block attends alone
    assert_equal(found, DenoiserOracle(middle, UNEVEN, TEXT).observe())

    silent = observe(denoiser(down="DownBlock2D", mid="UNetMidBlock2D"))
    assert silent is not None
    assert [value.name for value in silent.graph.outputs] == ["bottleneck"]
    no_middle = observe(denoiser(mid=None))
    assert no_middle is not None
    assert [value.name for value in no_middle.graph.outputs] == ["last_token_attention", "token_attention"]
    assert observe(denoiser(down="DownBlock2D", mid=None)) is None


def test_a_denoiser_without_text_has_no_graphs_of_text_and_says_so() -> None:
    found = denoiser_graphs(trace_denoiser(denoiser(down="DownBlock2D", mid=None), UNEVEN, TEXT), tangents=2)
    assert {"observe.onnx", "condition.onnx"}.isdisjoint(found)
    assert given_by(found)["observe.onnx"] == {}
    assert given_by(graphs("sd1"))["observe.onnx"] == dict.fromkeys(OUTPUTS, ("prompt", "none"))


def test_slices_change_nothing_that_is_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memscan.export.passes.sliced_attention.MIN_SCORES", 1)
    model = graphs("sd1")["observe.onnx"].clone()
    written_out = observe_graph(traced("sd1"))
    assert written_out is not None
    assert SliceAttention()(written_out).modified
    case = DenoiserOracle(tiny_denoiser("sd1"), LATENT, TEXT).observe()
    assert_equal(written_out, case)
    assert_equal(model, case)


def test_the_denoiser_stays_as_it_was_and_shares_its_weights() -> None:
    weights = {name: value.const_value for name, value in traced("sd1").graph.initializers.items()}
    assert [value.name for value in traced("sd1").graph.outputs] == ["eps"]
    observed = graphs("sd1")["observe.onnx"].graph
    shared = [name for name in observed.initializers if name in weights and name.startswith("unet.")]
    assert len(shared) > 50
    assert all(observed.initializers[name].const_value is weights[name] for name in shared)


def assert_equal(model: ir.Model, case: Case) -> None:
    names = [str(value.name) for value in model.graph.outputs]
    assert list(case.expected) == names
    for name, found in zip(names, _session(model).run(names, case.feed), strict=True):
        error = np.linalg.norm(found - case.expected[name]) / np.linalg.norm(case.expected[name])
        assert error < LIMIT, f"{name}: {error:.1e}"
        assert found.shape == case.expected[name].shape


def _session(model: ir.Model) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options, ["CPUExecutionProvider"])
