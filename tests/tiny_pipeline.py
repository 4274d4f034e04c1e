"""Random-weight Stable Diffusion pipelines: the real architectures, a thousand times smaller, saved by diffusers."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

WORDS = ("a", "an", "the", "of", "photo", "cat", "dog", "house", "red", "blue")


BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
POOLED = 20
"""Width of the pooled embedding of the "sdxl" family's second text encoder."""
_SECOND_WIDTH = 16


def save_pipeline(
    folder: Path,
    *,
    family: str = "sd1",
    prediction_type: str = "epsilon",
    seed: int = 0,
    pad_with: str | None = None,
    text_width: int = 32,
) -> Path:
    """Save a tiny pipeline of `family`: "sd1" has convolutional projections, "sd2" linear ones, "sdxl" two encoders.

    `pad_with` names the padding token ("!" in Stable Diffusion 2); the default is the end token. Latents are 4x8x8,
    images 32x32.
    """
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer(folder / "vocabulary", pad_with)
    text_encoder = CLIPTextModel(clip_config(tokenizer, text_width, "quick_gelu" if family == "sd1" else "gelu"))
    unet = tiny_unet(family, text_width + _SECOND_WIDTH if family == "sdxl" else text_width)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=0.7,
    )
    parts = {"vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer, "unet": unet}
    if family == "sdxl":
        second_tokenizer = clip_tokenizer(folder / "vocabulary_2", "!")
        second = CLIPTextModelWithProjection(clip_config(second_tokenizer, _SECOND_WIDTH, "gelu"))
        scheduler = EulerDiscreteScheduler(**BETAS, prediction_type=prediction_type, timestep_spacing="leading")
        StableDiffusionXLPipeline(
            **parts, scheduler=scheduler, text_encoder_2=second, tokenizer_2=second_tokenizer, add_watermarker=False
        ).save_pretrained(folder)
        return folder
    scheduler = PNDMScheduler(**BETAS, skip_prk_steps=True, prediction_type=prediction_type)
    StableDiffusionPipeline(
        **parts, scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    ).save_pretrained(folder)
    return folder


def tiny_unet(family: str, text_width: int) -> UNet2DConditionModel:
    """A random denoiser of 16 and 32 channels over 4x8x8 latents, with the shape of its family: see `save_pipeline`."""
    options = {}
    if family == "sdxl":
        options = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": POOLED + 6 * 8,
        }
    # SDXL has no attention at full resolution.
    down = ("DownBlock2D", "CrossAttnDownBlock2D") if family == "sdxl" else ("CrossAttnDownBlock2D", "DownBlock2D")
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=down,
        up_block_types=tuple(block.replace("Down", "Up") for block in reversed(down)),
        cross_attention_dim=text_width,
        attention_head_dim=2 if family == "sd1" else (2, 4),
        use_linear_projection=family != "sd1",
        norm_num_groups=8,
        **options,
    )


def clip_config(tokenizer: CLIPTokenizer, width: int, activation: str) -> CLIPTextConfig:
    """Two layers of CLIP over the tokenizer's vocabulary."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        hidden_act=activation,
        projection_dim=POOLED,
    )


def clip_tokenizer(folder: Path, pad_with: str | None) -> CLIPTokenizer:
    """A byte-level BPE that spells every string, with whole words for `WORDS`."""
    folder.mkdir(parents=True)
    alphabet = _byte_alphabet()
    vocabulary = alphabet + [symbol + "</w>" for symbol in alphabet]
    merges = []
    for word in WORDS:
        symbols = [*word[:-1], word[-1] + "</w>"]
        merged = symbols[0]
        for symbol in symbols[1:]:
            pair, merged = (merged, symbol), merged + symbol
            if merged not in vocabulary:
                merges.append(pair)
                vocabulary.append(merged)
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    ids = {token: index for index, token in enumerate(vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    options = {} if pad_with is None else {"pad_token": pad_with}
    return CLIPTokenizer.from_pretrained(folder, model_max_length=20, **options)


def _byte_alphabet() -> list[str]:
    """The printable stand-ins for the 256 bytes that CLIP's tokenizer uses."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
