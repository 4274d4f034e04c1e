"""Cuts: every kind of derivative against torch's forward mode with `detach`, on whole random UNets.

Three UNets have attention at full latent resolution, as the first level of Stable Diffusion 1 and 2 does; the one that
resembles XL has none there, and two transformer blocks in a row below.
"""

import functools
import itertools

import numpy as np
import onnx_ir as ir
import pytest
import torch
from diffusers import UNet2DConditionModel

from memscan.export.autodiff.cut import DOMAIN, Cut
from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.graphs.measure import measure_graph
from memscan.export.graphs.trace import trace_denoiser
from memscan.export.parity.oracle import Case, DenoiserOracle
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime

LATENT, TEXT, TANGENTS = (4, 12, 8), (5, 12), 2
LIMIT = 1e-5
"""Relative, in the norm, as for the exact derivative: float32 in two orders of summation gives 1e-6."""

UNETS = {
    "sd1": {"attention_head_dim": 2, "layers_per_block": 1},
    "sd2": {"attention_head_dim": (2, 4, 4), "use_linear_projection": True, "layers_per_block": (1, 2, 1)},
    "xl": {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (2, 4, 4),
        "use_linear_projection": True,
        "transformer_layers_per_block": (1, 2, 1),
        "layers_per_block": 2,
    },
}
ALL = [
    Cut(levels, transformers, hold_weights, hold_statistics)
    for levels, transformers, hold_weights, hold_statistics in itertools.product(
        (None, 1, 2), (True, False), (False, True), (False, True)
    )
]


@functools.cache
def denoiser(family: str) -> EpsDenoiser:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        **{
            "sample_size": 12,
            "block_out_channels": (8, 16, 16),
            "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            "cross_attention_dim": TEXT[1],
            "norm_num_groups": 4,
            **UNETS[family],
        }
    )
    for parameter in unet.parameters():  # diffusers begins with scales of one and shifts of zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    return EpsDenoiser(unet.eval().requires_grad_(False), "v_prediction" if family == "sd2" else "epsilon")


@functools.cache
def traced(family: str) -> ir.Model:
    return trace_denoiser(denoiser(family), LATENT, TEXT)


@functools.cache
def case(family: str, cut: Cut) -> Case:
    traced(family)  # first, with the attention that a checkpoint has
    return DenoiserOracle(denoiser(family), LATENT, TEXT).measure(TANGENTS, cut)


def run(model: ir.Model, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    proto = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, feed), strict=True))


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("cut", ALL, ids=str)
@pytest.mark.parametrize("family", UNETS)
def test_every_cut_equals_torch_with_detached_paths(family: str, cut: Cut) -> None:
    expected = case(family, cut)
    model = measure_graph(traced(family), TANGENTS, cut)
    found = run(model, expected.feed)
    for name, array in expected.expected.items():
        assert error(found[name], array) < LIMIT, name
    assert {node.domain for node in model.graph} <= {"", "memscan"}
    assert DOMAIN not in model.graph.opset_imports


@pytest.mark.parametrize("family", UNETS)
def test_what_a_cut_leaves_out_is_there_to_be_left_out(family: str) -> None:
    """Else the comparison with torch could not fail."""
    diagonals = {cut: case(family, cut).expected["v_dot_jv"] for cut in ALL}
    for cut, other in itertools.combinations(ALL, 2):
        without_attention = not cut.transformers and not other.transformers
        no_difference = (cut.levels, cut.hold_statistics) == (other.levels, other.hold_statistics) and (
            without_attention or (family == "xl" and cut.levels == other.levels == 1)
        )
        assert (error(diagonals[cut], diagonals[other]) < LIMIT) == no_difference, f"{cut} {other}"
