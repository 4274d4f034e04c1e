"""Whole diffusers blocks against two oracles: torch, and onnx-ad, which differentiates the same graph."""

import numpy as np
import onnx_ad
import onnx_ir as ir
import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from memscan.export.autodiff.jvp import jvp
from memscan.export.graphs.trace import OPSET
from memscan.export.quiet import quiet_libraries
from memscan.scanner.runtimes.quiet_onnxruntime import onnxruntime

K = 3
LIMIT = 5e-6
"""Relative, in the norm: one block in float32, two orders of summation."""


class Resnet(nn.Module):
    """Group normalizations, SiLUs, convolutions, a time embedding and a shortcut."""

    shape = (2, 8, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.block = ResnetBlock2D(in_channels=8, out_channels=16, temb_channels=12, groups=4)
        self.time = nn.Parameter(torch.randn(2, 12), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x, self.time)


class Transformer(nn.Module):
    """Layer normalizations, self-attention, cross-attention to text, and a GEGLU."""

    shape = (2, 9, 16)

    def __init__(self) -> None:
        super().__init__()
        self.block = BasicTransformerBlock(16, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=12)
        self.text = nn.Parameter(torch.randn(2, 5, 12), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x, encoder_hidden_states=self.text)


@pytest.mark.parametrize("block", [Resnet, Transformer], ids=lambda block: block.__name__)
def test_block_equals_torch_and_onnx_ad(block: type[Resnet] | type[Transformer]) -> None:
    torch.manual_seed(0)
    module = block().eval().requires_grad_(False)
    x, tangents = torch.randn(block.shape), torch.randn(K, *block.shape)
    model = _trace(module, x)

    found = _run(jvp(model, ("x",), "y", num_tangents=K), {"x": x, "x_dot": tangents}, "y_dot")

    oracle = ir.from_proto(onnx_ad.forward(ir.to_proto(model), inputs=["x"], outputs=["y"], layout="onnx"))
    theirs = _run(oracle, {"x": x, "fwd_x": torch.movedim(tangents, 0, -1).contiguous()}, "fwd_y")
    assert _error(found, np.moveaxis(theirs, -1, 0)) < LIMIT

    _use_differentiable_attention(module)
    torchs = torch.stack([torch.func.jvp(module, (x,), (tangent,))[1] for tangent in tangents])
    assert _error(found, torchs.numpy()) < LIMIT


def _trace(module: nn.Module, x: Tensor) -> ir.Model:
    with quiet_libraries():
        program = torch.onnx.export(
            module, (x,), dynamo=True, verbose=False, opset_version=OPSET, input_names=["x"], output_names=["y"]
        )
    assert program is not None
    return program.model


def _use_differentiable_attention(module: nn.Module) -> None:
    """Attention that torch can differentiate forwards."""
    if isinstance(module, Transformer):
        for attention in (module.block.attn1, module.block.attn2):
            attention.set_processor(AttnProcessor())


def _run(model: ir.Model, feed: dict[str, Tensor], output: str) -> np.ndarray:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    (value,) = session.run([output], {name: tensor.numpy() for name, tensor in feed.items()})
    return value


def _error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
