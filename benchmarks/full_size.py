"""Stable Diffusion v1.4's architecture with random weights, saved and exported where no checkpoint is at hand.

UNet and text encoder have their real sizes; the VAE, which a scan without pictures never runs, is a small one.
"""

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from memscan.export.assemble import ExportOptions, export_bundle
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.passes.half_precision import Precision
from tests.tiny_pipeline import save_pipeline

UNET = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
TEXT_ENCODER = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
}


def full_size_pipeline(folder: Path, seed: int) -> Path:
    """The diffusers pipeline at `folder`, made if it is not there."""
    if folder.exists():
        return folder
    aside = folder.with_name(f"{folder.name}.partial")
    save_pipeline(aside)
    tokenizer = CLIPTokenizer.from_pretrained(
        aside / "tokenizer", model_max_length=TEXT_ENCODER["max_position_embeddings"]
    )
    tokenizer.save_pretrained(aside / "tokenizer")
    torch.manual_seed(seed)
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER, **special)).save_pretrained(aside / "text_encoder")
    UNet2DConditionModel(**UNET).save_pretrained(aside / "unet")
    return aside.rename(folder)


def full_size_bundle(work: Path, precision: Precision) -> tuple[Path, Path, Path]:
    """Pipeline, baseline and a bundle of both in `work`; each is made if it is not there."""
    pipeline, baseline = (full_size_pipeline(work / f"sd14-{seed}", seed) for seed in (0, 1))
    bundle = work / f"sd14-{precision}.bundle"
    if not bundle.exists():
        export_bundle(
            find_checkpoint(str(pipeline)),
            bundle,
            baseline=find_checkpoint(str(baseline)),
            options=ExportOptions(precision=precision, certify=()),
        )
    return pipeline, baseline, bundle
