"""Random-weight pipelines of flow matching: the real architectures, a thousand times smaller, saved by diffusers."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, StableDiffusion3Pipeline
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel, T5Tokenizer

from tests.export.graphs.transformers import tiny_flux, tiny_mmdit
from tests.tiny_pipeline import WORDS, clip_config, clip_tokenizer

WIDTHS = 32, 16
"""Of the two CLIP encoders' states."""
POOLED = 20
"""Of each CLIP encoder's pooled encoding."""
CHANNELS = 16
"""Of latents, as the real ones have them."""
JOINT = 56
"""The width of the states that the transformer attends to: T5's own, and more than CLIP's."""


def save_sd3(folder: Path, *, t5: bool = True, seed: int = 0, projected: bool = True) -> Path:
    """Save a tiny Stable Diffusion 3.5 pipeline, or one without T5, or one whose first pooled encoding is projected by
    the identity, as the published ones have it. Latents are 16x8x8, images 32x32."""
    torch.manual_seed(seed)
    tokenizers = [clip_tokenizer(folder / "vocabulary", None), clip_tokenizer(folder / "vocabulary_2", "!")]
    configs = [
        clip_config(tokenizer, width, activation)
        for tokenizer, width, activation in zip(tokenizers, WIDTHS, ("quick_gelu", "gelu"), strict=True)
    ]
    configs[0].projection_dim = POOLED if projected else WIDTHS[0]
    encoders = [CLIPTextModelWithProjection(config) for config in configs]
    if not projected:
        torch.nn.init.eye_(encoders[0].text_projection.weight)
    third = t5_tokenizer() if t5 else None
    StableDiffusion3Pipeline(
        transformer=tiny_mmdit(JOINT, pooled=sum(config.projection_dim for config in configs), channels=CHANNELS),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_vae(shift=0.06),
        text_encoder=encoders[0],
        tokenizer=tokenizers[0],
        text_encoder_2=encoders[1],
        tokenizer_2=tokenizers[1],
        text_encoder_3=T5EncoderModel(t5_config(third)) if third is not None else None,
        tokenizer_3=third,
    ).save_pretrained(folder)
    return folder


def tiny_vae(*, shift: float) -> AutoencoderKL:
    """A VAE of 16 channels without the layers that quantize, whose latents are shifted."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        latent_channels=CHANNELS,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=1.5,
        shift_factor=shift,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def t5_tokenizer() -> T5Tokenizer:
    """A unigram model that spells letters, with whole words for `WORDS`."""
    letters = [(symbol, -8.0) for symbol in "abcdefghijklmnopqrstuvwxyz!,.▁"]
    words = [(f"▁{word}", -2.0 - index / 10) for index, word in enumerate(WORDS)]
    return T5Tokenizer(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters, *words], extra_ids=0, model_max_length=512
    )


def t5_config(tokenizer: T5Tokenizer) -> T5Config:
    """Two layers of T5 v1.1 over the tokenizer's vocabulary."""
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=JOINT,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )


def save_flux(folder: Path, *, guided: bool = True, seed: int = 0) -> Path:
    """Save a tiny FLUX.1 pipeline, guidance-distilled as dev is, or not, as schnell. Its latents are packed."""
    torch.manual_seed(seed)
    tokenizer, second = clip_tokenizer(folder / "vocabulary", None), t5_tokenizer()
    shift = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15} if guided else {"shift": 1.0}
    FluxPipeline(
        transformer=tiny_flux(JOINT, pooled=WIDTHS[0], guided=guided, channels=CHANNELS),
        scheduler=FlowMatchEulerDiscreteScheduler(**shift),
        vae=tiny_vae(shift=0.11),
        text_encoder=CLIPTextModel(clip_config(tokenizer, WIDTHS[0], "quick_gelu")),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(t5_config(second)),
        tokenizer_2=second,
    ).save_pretrained(folder)
    return folder
