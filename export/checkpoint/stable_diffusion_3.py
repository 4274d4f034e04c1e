"""Stable Diffusion 3 and 3.5: a transformer with joint attention, trained by flow matching, and three text encoders.

A checkpoint may be without the third, T5, as its pipeline may: then zeros stand in for T5's states.
"""

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, SD3Transformer2DModel
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from memscan.export.checkpoint.family import Family
from memscan.export.checkpoint.flow_denoiser import FlowDenoiser
from memscan.export.checkpoint.joint_text_encoders import JointTextEncoders
from memscan.export.checkpoint.latent_scale import SHIFT
from memscan.export.checkpoint.mmdit import Mmdit

_T5_TOKENS = 256
"""Of T5's text, whatever its tokenizer could take: the pipeline's own."""


def _recognises(transformer: Mapping[str, Any]) -> bool:
    return transformer.get("_class_name") == "SD3Transformer2DModel"


def _denoiser(
    transformer: SD3Transformer2DModel, latent_shape: tuple[int, int, int], text_shape: tuple[int, int]
) -> FlowDenoiser:
    without_t5 = text_shape[1] < transformer.config.joint_attention_dim
    network = Mmdit(transformer, latent_shape, missing=_T5_TOKENS if without_t5 else 0)
    return FlowDenoiser(network, int(transformer.config.pooled_projection_dim))


STABLE_DIFFUSION_3 = Family(
    name="sd3",
    title="Stable Diffusion 3",
    pipelines=(
        "StableDiffusion3Pipeline",
        "StableDiffusion3Img2ImgPipeline",
        "StableDiffusion3InpaintPipeline",  # also of denoisers that are not made for inpainting
    ),
    recognises=_recognises,
    parts={
        "transformer": SD3Transformer2DModel,
        "text_encoder": CLIPTextModelWithProjection,
        "text_encoder_2": CLIPTextModelWithProjection,
        "text_encoder_3": T5EncoderModel,
        "vae": AutoencoderKL,
    },
    text_encoders=("text_encoder", "text_encoder_2", "text_encoder_3"),
    tokenizers=("tokenizer", "tokenizer_2", "tokenizer_3"),
    join=JointTextEncoders,
    latent_size=(128, 128),
    old_sizes=False,
    steps_offset=None,
    zero_uncond=False,
    told_size=False,
    latent_statistics=SHIFT,
    layers_left_out=1,
    denoiser="transformer",
    build=_denoiser,
    optional=("text_encoder_3",),
    behind={"tokenizer_3": _T5_TOKENS},
)
