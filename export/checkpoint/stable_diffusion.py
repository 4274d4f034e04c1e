"""Stable Diffusion 1.x and 2.x: one text encoder, whose last hidden states the denoiser attends to.

Its kin take more than latents: of inpainting a mask and latents of what is not masked, of depth a map of it, and of
editing latents of the picture that is edited.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from memscan.export.checkpoint.components import TextEncoder
from memscan.export.checkpoint.family import Family, more_channels


def _recognises(unet: Mapping[str, Any]) -> bool:
    return unet.get("addition_embed_type") is None and more_channels(unet) == 0


def _recognises_more(count: int) -> Callable[[Mapping[str, Any]], bool]:
    return lambda unet: unet.get("addition_embed_type") is None and more_channels(unet) == count


STABLE_DIFFUSION = Family(
    name="sd",
    title="Stable Diffusion 1.x and 2.x",
    pipelines=(
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "LatentConsistencyModelPipeline",  # whose denoiser is told the scale of guidance
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

INPAINTING = dataclasses.replace(
    STABLE_DIFFUSION,
    name="sd-inpainting",
    title="Stable Diffusion 1.x and 2.x for inpainting",
    pipelines=("StableDiffusionInpaintPipeline",),
    recognises=_recognises_more(5),
    channels="inpainting",
)
DEPTH = dataclasses.replace(
    STABLE_DIFFUSION,
    name="sd-depth",
    title="Stable Diffusion 2.x for depth",
    pipelines=("StableDiffusionDepth2ImgPipeline",),
    recognises=_recognises_more(1),
    channels="depth",
)
EDITING = dataclasses.replace(
    STABLE_DIFFUSION,
    name="sd-editing",
    title="InstructPix2Pix",
    pipelines=("StableDiffusionInstructPix2PixPipeline",),
    recognises=_recognises_more(4),
    channels="edit",
)
