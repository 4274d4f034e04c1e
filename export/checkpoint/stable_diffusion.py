"""Stable Diffusion 1.x and 2.x: one text encoder, whose last hidden states the denoiser attends to."""

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from memscan.export.checkpoint.components import TextEncoder
from memscan.export.checkpoint.family import Family


def _recognises(unet: Mapping[str, Any]) -> bool:
    return unet.get("addition_embed_type") is None


STABLE_DIFFUSION = Family(
    name="sd",
    title="Stable Diffusion 1.x and 2.x",
    pipelines=(
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",  # also of denoisers that are not made for inpainting
    ),
    recognises=_recognises,
    parts={"unet": UNet2DConditionModel, "text_encoder": CLIPTextModel, "vae": AutoencoderKL},
    text_encoders=("text_encoder",),
    tokenizers=("tokenizer",),
    join=TextEncoder,
    latent_size=(64, 64),
    old_sizes=True,
    steps_offset=1,
    zero_uncond=False,
    told_size=False,
    layers_left_out=0,
)
