"""The graphs beside the denoiser: text encoders and VAE, as ONNX models with a symbolic batch `N`."""

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection


class TextEncoder(nn.Module):
    """input_ids [N, S] int64 -> encoder_hidden_states [N, S, D]: the last hidden state, as Stable Diffusion has it."""

    outputs = ("encoder_hidden_states",)

    def __init__(self, model: CLIPTextModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> tuple[Tensor]:
        return (self.model(input_ids, return_dict=False)[0],)


class PooledTextEncoder(nn.Module):
    """input_ids [N, S] int64 -> encoder_hidden_states [N, S, D], text_embeds [N, P], as SDXL's refiner has it.

    The hidden states are those before the last layer, the pooled state is the projected one.
    """

    outputs = ("encoder_hidden_states", "text_embeds")

    def __init__(self, model: CLIPTextModelWithProjection):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        encoded = self.model(input_ids, output_hidden_states=True)
        return encoded.hidden_states[-2], encoded.text_embeds


class TwoTextEncoders(nn.Module):
    """input_ids, input_ids_2 [N, S] int64 -> encoder_hidden_states [N, S, D1 + D2], text_embeds [N, P], as SDXL has it.

    The hidden states are those before the last layer, side by side; the second encoder also gives its projected
    pooled state.
    """

    outputs = ("encoder_hidden_states", "text_embeds")

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
        return self.vae.decode(latents / self.vae.config.scaling_factor, return_dict=False)


class Encoder(nn.Module):
    """image [N, 3, H, W] in [-1, 1] -> latents [N, C, h, w]: the posterior's mode, scaled."""

    outputs = ("latents",)

    def __init__(self, vae: AutoencoderKL):
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.vae.encode(image).latent_dist.mode() * self.vae.config.scaling_factor,)


Component = TextEncoder | PooledTextEncoder | TwoTextEncoders | Decoder | Encoder
