"""The graphs beside the denoiser: text encoder and VAE, as ONNX models with a symbolic batch `N`."""

import onnx_ir as ir
import torch
from diffusers import AutoencoderKL
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn
from transformers import CLIPTextModel

from memscan.export.trace import OPSET


class TextEncoder(nn.Module):
    """input_ids [N, S] int64 -> hidden_states [N, S, D]: the last hidden state, as Stable Diffusion conditions on."""

    def __init__(self, model: CLIPTextModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.model(input_ids, return_dict=False)[0]


class Decoder(nn.Module):
    """latents [N, C, h, w] -> image [N, 3, H, W], about in [-1, 1]; undoes the latent scaling."""

    def __init__(self, vae: AutoencoderKL):
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        shift = self.vae.config.shift_factor or 0.0
        return self.vae.decode(latents / self.vae.config.scaling_factor + shift, return_dict=False)[0]


class Encoder(nn.Module):
    """image [N, 3, H, W] in [-1, 1] -> latents [N, C, h, w]: the posterior's mode, scaled."""

    def __init__(self, vae: AutoencoderKL):
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor) -> Tensor:
        shift = self.vae.config.shift_factor or 0.0
        return (self.vae.encode(image).latent_dist.mode() - shift) * self.vae.config.scaling_factor


def trace_component(module: nn.Module, example: Tensor, input_name: str, output_name: str) -> ir.Model:
    """Trace a module of one input and one output; the first axis of `example` becomes the symbolic batch `N`.

    Args:
        example: an input with a batch of 2 (a batch of 1 would be taken for a constant).
    """
    program = torch.onnx.export(
        module.eval(),
        (example,),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=[input_name],
        output_names=[output_name],
        dynamic_shapes=({0: torch.export.Dim("N")},),
    )
    assert program is not None
    # torch notes a stack trace beside every node, with the paths of the machine that exports.
    ClearMetadataAndDocStringPass()(program.model)
    return program.model
