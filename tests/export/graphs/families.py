"""The graphs of a tiny denoiser of every family and precision: traced once in a process, for whoever reads graphs.

`graphs("sdxl", "fp16")` gives what a bundle of that family holds: `{"measure.onnx": ..., "step.onnx": ...}`.
"""

import functools
from types import SimpleNamespace

import onnx_ir as ir
import torch

from memscan.export.checkpoint.denoiser import EpsDenoiser
from memscan.export.graphs.graphs import denoiser_graphs
from memscan.export.graphs.trace import trace_denoiser
from memscan.export.passes.half_precision import Precision
from tests.tiny_pipeline import tiny_unet

FAMILIES = {
    "sd1": ("sd1", "epsilon"),
    "sd2": ("sd2", "epsilon"),
    "sd2-v": ("sd2", "v_prediction"),
    "sdxl": ("sdxl", "epsilon"),
}
"""Name -> architecture (see `tiny_unet`) and prediction type."""

LATENT, TEXT = (4, 8, 8), (7, 24)
PLAIN = SimpleNamespace(in_channels=4, out_channels=4, time_cond_proj_dim=None)
"""What is asked of the configuration of a stand-in for a UNet."""
TANGENTS = 3


@functools.cache
def tiny_denoiser(family: str) -> EpsDenoiser:
    """A random denoiser, whose weights the family's graphs share."""
    architecture, prediction_type = FAMILIES[family]
    torch.manual_seed(0)
    unet = tiny_unet(architecture, TEXT[1]).eval().requires_grad_(False)
    return EpsDenoiser(unet, prediction_type, (32, 32) if architecture == "sdxl" else None)


@functools.cache
def traced(family: str) -> ir.Model:
    """The graph of `tiny_denoiser`; not to be modified."""
    return trace_denoiser(tiny_denoiser(family), LATENT, TEXT)


@functools.cache
def graphs(family: str, precision: Precision = "fp32") -> dict[str, ir.Model]:
    """File name -> model, of `tiny_denoiser`, for `TANGENTS` tangents; not to be modified."""
    return denoiser_graphs(traced(family), tangents=TANGENTS, precision=precision)
