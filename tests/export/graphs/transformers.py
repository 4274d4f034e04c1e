"""Tiny random transformers of flow matching, and their graphs: each traced once in a process.

`traced("sd3")` is the graph of `tiny_flow_denoiser("sd3")`, over 4x8x8 latents.
"""

import functools

import onnx_ir as ir
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel

from memscan.export.autodiff.cut import TRANSFORMER_CUTS
from memscan.export.checkpoint.flow_denoiser import FlowDenoiser
from memscan.export.checkpoint.mmdit import Mmdit
from memscan.export.checkpoint.packed_flux import PackedFlux
from memscan.export.graphs.graphs import denoiser_graphs
from memscan.export.graphs.trace import trace_denoiser

TRANSFORMERS = ("sd3", "flux")
LATENT, TEXT, POOLED = (4, 8, 8), (7, 24), 20
TANGENTS = 3
MISSING = 2
"""Tokens of a text encoder that is not there."""


def tiny_mmdit(
    text_width: int, *, pooled: int = POOLED, qk_norm: str | None = "rms_norm", channels: int = LATENT[0]
) -> SD3Transformer2DModel:
    """Two blocks, the first with dual attention as in SD 3.5; trained, it seems, for images half as large again."""
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=channels,
        out_channels=channels,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=text_width,
        caption_projection_dim=32,
        pooled_projection_dim=pooled,
        pos_embed_max_size=6,
        dual_attention_layers=(0,),
        qk_norm=qk_norm,
    )
    return scattered(transformer)


def tiny_flux(
    text_width: int, *, pooled: int = POOLED, guided: bool = True, channels: int = LATENT[0]
) -> FluxTransformer2DModel:
    """A block of two streams and one of a single stream; guidance-distilled as FLUX.1-dev is, or not, as schnell."""
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * channels,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=text_width,
        pooled_projection_dim=pooled,
        guidance_embeds=guided,
        axes_dims_rope=(4, 6, 6),
    )
    return scattered(transformer)


def scattered(transformer: torch.nn.Module) -> torch.nn.Module:
    """A transformer in evaluation mode whose norms are as different from each other as its other weights."""
    for name, parameter in transformer.named_parameters():
        if "norm_" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return transformer.eval().requires_grad_(False)


@functools.cache
def tiny_flow_denoiser(family: str) -> FlowDenoiser:
    """A random denoiser, whose weights the family's graphs share."""
    torch.manual_seed(0)
    if family == "sd3":
        return FlowDenoiser(Mmdit(tiny_mmdit(TEXT[1] + 8), LATENT, MISSING), POOLED)
    assert family == "flux"
    return FlowDenoiser(PackedFlux(tiny_flux(TEXT[1]), LATENT, TEXT[0]), POOLED, told_guidance=True)


@functools.cache
def traced(family: str) -> ir.Model:
    """The graph of `tiny_flow_denoiser`; not to be modified."""
    return trace_denoiser(tiny_flow_denoiser(family), LATENT, TEXT)


@functools.cache
def graphs(family: str) -> dict[str, ir.Model]:
    """File name -> model, of `tiny_flow_denoiser`, for `TANGENTS` tangents; not to be modified."""
    return denoiser_graphs(traced(family), tangents=TANGENTS, cuts=TRANSFORMER_CUTS, observed=False, unguided=True)
