"""Stable Diffusion XL: the denoiser attends to the states of two text encoders side by side.

It also takes the second one's pooled embedding, together with the sizes of the image. A refiner has the second encoder
alone, and is told an aesthetic score in place of the size that the image is of; inpainting takes a mask and latents.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from memscan.export.checkpoint.components import PooledTextEncoder, TwoTextEncoders
from memscan.export.checkpoint.family import Family, more_channels
from memscan.export.checkpoint.latent_scale import BY_CHANNEL


def _recognises(unet: Mapping[str, Any]) -> bool:
    return unet.get("addition_embed_type") == "text_time" and more_channels(unet) == 0


def _recognises_inpainting(unet: Mapping[str, Any]) -> bool:
    return unet.get("addition_embed_type") == "text_time" and more_channels(unet) == 5


STABLE_DIFFUSION_XL = Family(
    name="sdxl",
    title="Stable Diffusion XL base",
    pipelines=(
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",  # also of denoisers that are not made for inpainting
    ),
    recognises=_recognises,
    parts={
        "unet": UNet2DConditionModel,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
        "vae": AutoencoderKL,
    },
    text_encoders=("text_encoder", "text_encoder_2"),
    tokenizers=("tokenizer", "tokenizer_2"),
    join=TwoTextEncoders,
    latent_size=(128, 128),
    old_sizes=False,
    steps_offset=None,
    zero_uncond=True,
    told_size=True,
    latent_statistics=BY_CHANNEL,
    layers_left_out=1,
)

REFINER = dataclasses.replace(
    STABLE_DIFFUSION_XL,
    name="sdxl-refiner",
    title="the refiner of Stable Diffusion XL",
    pipelines=("StableDiffusionXLImg2ImgPipeline",),
    parts={name: part for name, part in STABLE_DIFFUSION_XL.parts.items() if name != "text_encoder"},
    text_encoders=("text_encoder_2",),
    tokenizers=("tokenizer_2",),
    join=PooledTextEncoder,
    scored=True,
)
XL_INPAINTING = dataclasses.replace(
    STABLE_DIFFUSION_XL,
    name="sdxl-inpainting",
    title="Stable Diffusion XL for inpainting",
    pipelines=("StableDiffusionXLInpaintPipeline",),
    recognises=_recognises_inpainting,
    channels="inpainting",
)
