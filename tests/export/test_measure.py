"""Whole random UNets: traced, differentiated and run in ONNX Runtime, against torch's own forward mode."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from memscan.export.denoiser import EpsDenoiser
from memscan.export.measure import measure_graph
from memscan.export.trace import INPUTS, trace_denoiser
from memscan.scanner.errors import ExportError

LATENT, TEXT = (4, 8, 8), (7, 24)
K = 3
LIMIT = 1e-5
"""Relative, in the norm: the limit of the export's parity check; float32 in two orders of summation gives 1e-6."""


@dataclass(frozen=True)
class Family:
    """What distinguishes the denoisers of a model family."""

    prediction_type: str
    attention_head_dim: int | tuple[int, int]
    use_linear_projection: bool


FAMILIES = {
    "sd1-epsilon": Family("epsilon", 8, False),
    "sd2-v_prediction": Family("v_prediction", (2, 4), True),
}


@pytest.fixture(scope="module", params=list(FAMILIES))
def traced(request: pytest.FixtureRequest) -> tuple[EpsDenoiser, ir.Model]:
    """A random denoiser of a family, its attention changed after tracing to one that torch can differentiate."""
    family = FAMILIES[request.param]
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=LATENT[1],
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT[1],
        norm_num_groups=8,
        attention_head_dim=family.attention_head_dim,
        use_linear_projection=family.use_linear_projection,
    )
    alphas_cumprod = torch.linspace(0.999, 0.005, 1000)
    denoiser = EpsDenoiser(unet.eval().requires_grad_(False), family.prediction_type, alphas_cumprod)
    model = trace_denoiser(denoiser, LATENT, TEXT)
    unet.set_attn_processor(AttnProcessor())
    return denoiser, model


@pytest.mark.parametrize("batch", [1, 3])
def test_measure_graph_equals_torch_forward_mode(traced: tuple[EpsDenoiser, ir.Model], batch: int) -> None:
    denoiser, model = traced
    sample, timestep, text, tangents = _inputs(batch)
    eps, v_dot_jv = _session(measure_graph(model, K)).run(None, _feed(sample, timestep, text, tangents))
    total = torch.zeros_like(sample)
    for v in tangents:
        expected_eps, jv = torch.func.jvp(lambda x: denoiser(x, timestep, text), (sample,), (v,))
        total += v * jv
    assert _error(eps, expected_eps) < LIMIT
    assert _error(v_dot_jv, total) < LIMIT


def test_measure_graph_keeps_the_contract(traced: tuple[EpsDenoiser, ir.Model]) -> None:
    _, model = traced
    weights = {name: value.const_value for name, value in model.graph.initializers.items()}
    measure = measure_graph(model, K)
    signature = [(value.name, str(value.shape)) for value in (*measure.graph.inputs, *measure.graph.outputs)]
    assert signature == [
        ("sample", "[N,4,8,8]"),
        ("timestep", "[N]"),
        ("encoder_hidden_states", "[N,7,24]"),
        ("tangents", "[3,N,4,8,8]"),
        ("eps", "[N,4,8,8]"),
        ("v_dot_jv", "[N,4,8,8]"),
    ]
    shared = {name: value.const_value for name, value in measure.graph.initializers.items() if name in weights}
    assert all(shared[name] is weights[name] for name in shared)
    added = [value.const_value for name, value in measure.graph.initializers.items() if name not in weights]
    assert sum(tensor.size for tensor in added if tensor is not None) < 1000


def test_traced_graph_shares_the_denoisers_weights(traced: tuple[EpsDenoiser, ir.Model]) -> None:
    denoiser, model = traced
    storages = {parameter.untyped_storage().data_ptr() for parameter in denoiser.parameters()}
    large = {
        name: value.const_value.raw.untyped_storage().data_ptr()
        for name, value in model.graph.initializers.items()
        if value.const_value.size >= 1024
    }
    assert large
    assert set(large.values()) <= storages
    assert all(name.startswith("unet.") for name in large)


def test_traced_graph_has_every_shape_and_a_symbolic_batch(traced: tuple[EpsDenoiser, ir.Model]) -> None:
    _, model = traced
    assert [value.name for value in model.graph.inputs] == list(INPUTS)
    assert [value.name for value in model.graph.outputs] == ["eps"]
    for node in model.graph:
        for value in node.outputs:
            assert value.dtype is not None
            assert all(isinstance(size, int) for size in value.shape.dims[1:]), value


def test_v_prediction_is_converted_to_eps() -> None:
    class Constant(torch.nn.Module):
        def forward(self, sample: torch.Tensor, *_: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
            return (torch.full_like(sample, 2.0),)

    alphas_cumprod = torch.tensor([0.9, 0.36])
    denoiser = EpsDenoiser(Constant(), "v_prediction", alphas_cumprod)
    eps = denoiser(torch.full((2, 1, 1, 1), 5.0), torch.tensor([1, 0]), torch.zeros(2, 1, 1))
    expected = [0.6 * 2 + 0.8 * 5, 0.9**0.5 * 2 + 0.1**0.5 * 5]
    torch.testing.assert_close(eps.flatten(), torch.tensor(expected))


def test_prediction_of_the_sample_is_refused() -> None:
    with pytest.raises(ExportError, match="prediction type 'sample' is not supported: need epsilon or v_prediction"):
        EpsDenoiser(torch.nn.Identity(), "sample", [0.5])


def _inputs(batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    sample = torch.randn(batch, *LATENT, generator=generator)
    timestep = torch.randint(0, 1000, (batch,), generator=generator)
    text = torch.randn(batch, *TEXT, generator=generator)
    return sample, timestep, text, torch.randn(K, *sample.shape, generator=generator)


def _feed(*values: torch.Tensor) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in zip((*INPUTS, "tangents"), values, strict=True)}


def _session(model: ir.Model) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options, ["CPUExecutionProvider"])


def _error(found: np.ndarray, expected: torch.Tensor) -> float:
    return float(np.linalg.norm(found - expected.numpy()) / np.linalg.norm(expected.numpy()))
