"""The graphs beside the denoiser: text encoders and VAE, as ONNX models with a symbolic batch `N`."""

import torch
from diffusers import AsymmetricAutoencoderKL, AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from memscan.export.checkpoint.joint_text_encoders import JointTextEncoders, PooledAndJointTextEncoders
from memscan.export.checkpoint.latent_scale import from_vae, to_vae
from memscan.scanner import graph_names

_UNSKIPPED = graph_names.uncond("encoder_hidden_states")


class TextEncoder(nn.Module):
    """input_ids [N, S] int64 -> encoder_hidden_states [N, S, D]: the last hidden state, as Stable Diffusion has it.

    With `clip_skip` it is the state so many layers earlier, through the norm that ends the last; as in diffusers, no
    prompt's is not, and is a second output.
    """

    outputs: tuple[str, ...] = ("encoder_hidden_states",)

    def __init__(self, model: CLIPTextModel, *, clip_skip: int = 0):
        super().__init__()
        self.model = model
        self.clip_skip = clip_skip
        if clip_skip:
            self.outputs = (*self.outputs, _UNSKIPPED)

    def forward(self, input_ids: Tensor) -> tuple[Tensor, ...]:
        if not self.clip_skip:
            return (self.model(input_ids, return_dict=False)[0],)
        encoded = self.model(input_ids, output_hidden_states=True)
        state = encoded.hidden_states[-(self.clip_skip + 1)]
        norm = getattr(self.model, "text_model", self.model).final_layer_norm  # older versions of transformers nest it
        return norm(state), encoded.last_hidden_state


class PooledTextEncoder(nn.Module):
    """input_ids [N, S] int64 -> encoder_hidden_states [N, S, D], text_embeds [N, P], as SDXL's refiner has it.

    The hidden states are those before the last layer, the pooled state is the projected one; for `clip_skip` see
    `TextEncoder`.
    """

    outputs: tuple[str, ...] = ("encoder_hidden_states", "text_embeds")

    def __init__(self, model: CLIPTextModelWithProjection, *, clip_skip: int = 0):
        super().__init__()
        self.model = model
        self.clip_skip = clip_skip
        if clip_skip:
            self.outputs = (*self.outputs, _UNSKIPPED)

    def forward(self, input_ids: Tensor) -> tuple[Tensor, ...]:
        encoded = self.model(input_ids, output_hidden_states=True)
        encodings = encoded.hidden_states[-(self.clip_skip + 2)], encoded.text_embeds
        return (*encodings, encoded.hidden_states[-2]) if self.clip_skip else encodings


class TwoTextEncoders(nn.Module):
    """input_ids, input_ids_2 [N, S] int64 -> encoder_hidden_states [N, S, D1 + D2], text_embeds [N, P], as SDXL has it.

    The hidden states are those before the last layer, side by side; the second encoder also gives its projected
    pooled state. With `clip_skip` they are those so many layers earlier; see `TextEncoder`.
    """

    outputs: tuple[str, ...] = ("encoder_hidden_states", "text_embeds")

    def __init__(self, first: CLIPTextModel, second: CLIPTextModelWithProjection, *, clip_skip: int = 0):
        super().__init__()
        self.first = first
        self.second = second
        self.clip_skip = clip_skip
        if clip_skip:
            self.outputs = (*self.outputs, _UNSKIPPED)

    def forward(self, input_ids: Tensor, input_ids_2: Tensor) -> tuple[Tensor, ...]:
        first = self.first(input_ids, output_hidden_states=True)
        second = self.second(input_ids_2, output_hidden_states=True)

        def states(skipped: int) -> Tensor:
            return torch.cat([each.hidden_states[-(skipped + 2)] for each in (first, second)], dim=-1)

        encodings = states(self.clip_skip), second.text_embeds
        return (*encodings, states(0)) if self.clip_skip else encodings


class Decoder(nn.Module):
    """latents [N, C, h, w] -> image [N, 3, H, W], about in [-1, 1]; undoes the latent scaling."""

    outputs = ("image",)

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny | AsymmetricAutoencoderKL):
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> tuple[Tensor]:
        return self.vae.decode(to_vae(latents, self.vae.config), return_dict=False)


class Encoder(nn.Module):
    """image [N, 3, H, W] in [-1, 1] -> latents [N, C, h, w]: the posterior's mode, or a tiny VAE's answer, scaled."""

    outputs = ("latents",)

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny | AsymmetricAutoencoderKL):
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor) -> tuple[Tensor]:
        encoded = self.vae.encode(image)
        latents = encoded.latents if isinstance(self.vae, AutoencoderTiny) else encoded.latent_dist.mode()
        return (from_vae(latents, self.vae.config),)


Component = (
    TextEncoder
    | PooledTextEncoder
    | TwoTextEncoders
    | JointTextEncoders
    | PooledAndJointTextEncoders
    | Decoder
    | Encoder
)
