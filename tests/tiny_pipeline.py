"""Random-weight Stable Diffusion pipelines: the real architectures, a thousand times smaller, saved by diffusers."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WORDS = ("a", "an", "the", "of", "photo", "cat", "dog", "house", "red", "blue")


def save_pipeline(
    folder: Path,
    *,
    family: str = "sd1",
    prediction_type: str = "epsilon",
    seed: int = 0,
    pad_with: str | None = None,
    text_width: int = 32,
) -> Path:
    """Save a tiny pipeline of `family`: "sd1" has convolutional projections, "sd2" linear ones.

    `pad_with` names the padding token ("!" in Stable Diffusion 2); the default is the end token. Latents are 4x8x8,
    images 32x32.
    """
    torch.manual_seed(seed)
    tokenizer = _tokenizer(folder / "vocabulary", pad_with)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=text_width,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            hidden_act="quick_gelu" if family == "sd1" else "gelu",
        )
    )
    second_family = family == "sd2"
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=(2, 4) if second_family else 2,
        use_linear_projection=second_family,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=0.7,
    )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        skip_prk_steps=True,
        prediction_type=prediction_type,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def _tokenizer(folder: Path, pad_with: str | None) -> CLIPTokenizer:
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
