"""The graphs beside the denoiser: text encoders and VAE, as ONNX models with a symbolic batch `N`."""

import onnx_ir as ir
import torch
from diffusers import AutoencoderKL
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from memscan.export.passes.plain_attention import PlainAttention
from memscan.export.trace import OPSET


class TextEncoder(nn.Module):
    """input_ids [N, S] int64 -> hidden_states [N, S, D]: the last hidden state, as Stable Diffusion conditions on."""

    outputs = ("hidden_states",)

    def __init__(self, model: CLIPTextModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> tuple[Tensor]:
        return (self.model(input_ids, return_dict=False)[0],)


class TwoTextEncoders(nn.Module):
    """input_ids, input_ids_2 [N, S] int64 -> hidden_states [N, S, D1 + D2], text_embeds [N, P], as Stable Diffusion XL.

    The hidden states are those before the last layer, side by side; the second encoder also gives its projected
    pooled state.
    """

    outputs = ("hidden_states", "text_embeds")

    def __init__(self, first: CLIPTextModel, second: CLIPTextModelWithProjection):
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, input_ids: Tensor, input_ids_2: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(input_ids, output_hidden_states=True)
        second = self.second(input_ids_2, output_hidden_states=True)
        return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second.text_embeds


class Decoder(nn.Module):
    """latents [N, C, h, w] -> image [N, 3, H, W], about in [-1, 1]; undoes the latent scaling."""

    outputs = ("image",)

    def __init__(self, vae: AutoencoderKL):
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> tuple[Tensor]:
        shift = self.vae.config.shift_factor or 0.0
        return self.vae.decode(latents / self.vae.config.scaling_factor + shift, return_dict=False)


class Encoder(nn.Module):
    """image [N, 3, H, W] in [-1, 1] -> latents [N, C, h, w]: the posterior's mode, scaled."""

    outputs = ("latents",)

    def __init__(self, vae: AutoencoderKL):
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor) -> tuple[Tensor]:
        shift = self.vae.config.shift_factor or 0.0
        return ((self.vae.encode(image).latent_dist.mode() - shift) * self.vae.config.scaling_factor,)


Component = TextEncoder | TwoTextEncoders | Decoder | Encoder


def trace_component(module: Component, example: dict[str, Tensor]) -> ir.Model:
    """Trace a module; the first axis of its inputs becomes the symbolic batch `N`.

    Args:
        example: inputs by the names of `forward`'s arguments, with a batch of 2 (a batch of 1 would be taken for a
            constant).
    """
    program = torch.onnx.export(
        module.eval(),
        kwargs=example,
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=list(example),
        output_names=list(module.outputs),
        dynamic_shapes={name: {0: torch.export.Dim("N")} for name in example},
    )
    assert program is not None
    # torch notes a stack trace beside every node, with the paths of the machine that exports.
    ir.passes.Sequential(ClearMetadataAndDocStringPass(), PlainAttention())(program.model)
    return program.model
