"""Stable Diffusion XL base: the denoiser attends to the states of two text encoders side by side.

It also takes the second one's pooled embedding, together with the sizes of the image. A refiner, which has the second
encoder alone, is not of this family.
"""

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from memscan.export.checkpoint.components import TwoTextEncoders
from memscan.export.checkpoint.family import Family
from memscan.export.checkpoint.latent_scale import BY_CHANNEL


def _recognises(unet: Mapping[str, Any]) -> bool:
    return unet.get("addition_embed_type") == "text_time"


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
