"""Whole random UNets: traced, differentiated and run in ONNX Runtime, against torch's own forward mode."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.scanner.errors import ExportError
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime
from tests.export.graphs.families import FAMILIES, LATENT, PLAIN, TANGENTS, TEXT, graphs, tiny_denoiser, traced

LIMIT = 1e-5
"""Relative, in the norm: the limit of the export's parity check; float32 in two orders of summation gives 1e-6."""


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("batch", [1, 3])
def test_measure_graph_equals_torch_forward_mode(family: str, batch: int) -> None:
    feed = _inputs(tiny_denoiser(family), batch)
    eps, v_dot_jv = _session(graphs(family)["measure.onnx"]).run(None, {name: x.numpy() for name, x in feed.items()})
    tangents, sample = feed.pop("tangents"), feed.pop("sample")
    denoiser = _differentiable(family)
    total = torch.zeros_like(sample)
    for v in tangents:
        expected_eps, jv = torch.func.jvp(lambda x: denoiser(x, **feed), (sample,), (v,))
        total += v * jv
    assert _error(eps, expected_eps) < LIMIT
    assert _error(v_dot_jv, total) < LIMIT


def test_measure_graph_keeps_the_contract(family: str) -> None:
    weights = {name: value.const_value for name, value in traced(family).graph.initializers.items()}
    measure = graphs(family)["measure.onnx"]
    signature = [(value.name, str(value.shape)) for value in (*measure.graph.inputs, *measure.graph.outputs)]
    assert signature == [
        ("sample", "[N,4,8,8]"),
        ("timestep", "[N]"),
        ("alpha", "[N]"),
        ("sigma", "[N]"),
        ("encoder_hidden_states", "[N,7,24]"),
        *([("text_embeds", "[N,20]")] if family == "sdxl" else []),
        ("tangents", "[3,N,4,8,8]"),
        ("eps", "[N,4,8,8]"),
        ("v_dot_jv", "[N,4,8,8]"),
    ]
    shared = {name: value.const_value for name, value in measure.graph.initializers.items() if name in weights}
    assert all(shared[name] is weights[name] for name in shared)
    added = [value.const_value for name, value in measure.graph.initializers.items() if name not in weights]
    assert sum(tensor.size for tensor in added if tensor is not None) < 1000


def test_traced_graph_shares_the_denoisers_weights(family: str) -> None:
    storages = {parameter.untyped_storage().data_ptr() for parameter in tiny_denoiser(family).parameters()}
    large = {
        name: value.const_value.raw.untyped_storage().data_ptr()
        for name, value in traced(family).graph.initializers.items()
        if value.const_value.size >= 1024
    }
    assert large
    assert set(large.values()) <= storages
    assert all(name.startswith("unet.") for name in large)


def test_traced_graph_has_every_shape_and_a_symbolic_batch(family: str) -> None:
    model = traced(family)
    assert [value.name for value in model.graph.inputs] == list(tiny_denoiser(family).input_shapes(1, LATENT, TEXT))
    predicted = tiny_denoiser(family).prediction_type
    assert [value.name for value in model.graph.outputs] == (["eps"] if predicted == "epsilon" else ["eps", predicted])
    for node in model.graph:
        for value in node.outputs:
            assert value.dtype is not None
            assert all(isinstance(size, int) for size in value.shape.dims[1:]), value


def test_v_prediction_is_converted_to_eps() -> None:
    class Constant(torch.nn.Module):
        config = PLAIN

        def forward(self, sample: torch.Tensor, *_: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
            return (torch.full_like(sample, 2.0),)

    denoiser = EpsDenoiser(Constant(), "v_prediction")
    level = torch.tensor([[1.0, 0.5], [0.6, 0.96], [0.8, 0.28]])
    eps = denoiser(torch.full((2, 1, 1, 1), 5.0), *level, torch.zeros(2, 1, 1))
    expected = [0.6 * 2 + 0.8 * 5, 0.96 * 2 + 0.28 * 5]
    torch.testing.assert_close(eps.flatten(), torch.tensor(expected))


def test_prediction_of_the_sample_is_refused() -> None:
    with pytest.raises(ExportError, match="prediction type 'sample' is not supported: need epsilon or v_prediction"):
        EpsDenoiser(torch.nn.Identity(), "sample")


def _inputs(denoiser: EpsDenoiser, batch: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    inputs = {
        name: torch.randn(shape, generator=generator)
        for name, shape in denoiser.input_shapes(batch, LATENT, TEXT).items()
    }
    angle = torch.rand(batch, generator=generator)
    inputs |= {"timestep": 999 * angle, "alpha": angle.cos(), "sigma": angle.sin()}
    return {**inputs, "tangents": torch.randn(TANGENTS, *inputs["sample"].shape, generator=generator)}


def _differentiable(family: str) -> EpsDenoiser:
    """The denoiser with attention that torch can differentiate forwards."""
    traced(family)  # first, with the attention that a checkpoint has
    denoiser = tiny_denoiser(family)
    denoiser.unet.set_attn_processor(AttnProcessor())
    return denoiser


def _session(model: ir.Model) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options, ["CPUExecutionProvider"])


def _error(found: np.ndarray, expected: torch.Tensor) -> float:
    return float(np.linalg.norm(found - expected.numpy()) / np.linalg.norm(expected.numpy()))
