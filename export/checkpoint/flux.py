"""FLUX.1: a transformer of flow matching whose latents are packed, with CLIP's pooled encoding and T5's states.

FLUX.1-dev is guidance-distilled: it is told a scale of guidance, has no unconditional branch, and its pipeline guides
no further. FLUX.1-schnell is told nothing. Where a metric asks for no prompt, the empty prompt at the same guidance
stands in.
"""

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, FluxTransformer2DModel
from transformers import CLIPTextModel, T5EncoderModel

from memscan.export.checkpoint.family import Family
from memscan.export.checkpoint.flow_denoiser import FlowDenoiser
from memscan.export.checkpoint.joint_text_encoders import PooledAndJointTextEncoders
from memscan.export.checkpoint.latent_scale import SHIFT
from memscan.export.checkpoint.packed_flux import PackedFlux

_GUIDANCE = 3.5
"""The pipeline's default."""

_T5_TOKENS = 512


def _recognises(transformer: Mapping[str, Any]) -> bool:
    return transformer.get("_class_name") == "FluxTransformer2DModel"


def _denoiser(
    transformer: FluxTransformer2DModel, latent_shape: tuple[int, int, int], text_shape: tuple[int, int]
) -> FlowDenoiser:
    config = transformer.config
    network = PackedFlux(transformer, latent_shape, text_shape[0])
    return FlowDenoiser(network, int(config.pooled_projection_dim), told_guidance=bool(config.guidance_embeds))


FLUX_1 = Family(
    name="flux",
    title="FLUX.1",
    pipelines=(
        "FluxPipeline",
        "FluxImg2ImgPipeline",
        "FluxInpaintPipeline",  # also of denoisers that are not made for inpainting
    ),
    recognises=_recognises,
    parts={
        "transformer": FluxTransformer2DModel,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel,
        "vae": AutoencoderKL,
    },
    text_encoders=("text_encoder", "text_encoder_2"),
    tokenizers=("tokenizer", "tokenizer_2"),
    join=PooledAndJointTextEncoders,
    latent_size=(128, 128),
    old_sizes=False,
    steps_offset=None,
    zero_uncond=False,
    told_size=False,
    latent_statistics=SHIFT,
    denoiser="transformer",
    build=_denoiser,
    behind={"tokenizer_2": _T5_TOKENS},
    pooled=("tokenizer",),
    packed=4,
    pipeline_sigmas=True,
    told_guidance=_GUIDANCE,
)
