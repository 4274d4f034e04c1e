"""From training checkpoints to pipeline folders that StableDiffusionPipeline loads, in half precision."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from testbed.denoiser import new_scheduler
from testbed.text import build_tokenizer


def checkpoint_folder(work: Path, share: float) -> Path:
    """Where the checkpoint after `share` of the training lies."""
    return work / "checkpoints" / f"{round(100 * share):03d}"


def save_checkpoint(work: Path, share: float, unet: UNet2DConditionModel, text: CLIPTextModel) -> None:
    """Write the denoiser and its text encoder, in full precision."""
    folder = checkpoint_folder(work, share)
    unet.save_pretrained(folder / "unet")
    text.save_pretrained(folder / "text_encoder")


def load_pipeline(work: Path, share: float) -> StableDiffusionPipeline:
    """The pipeline after `share` of the training, in float32."""
    folder = checkpoint_folder(work, share)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(work / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder"),
        tokenizer=build_tokenizer(),
        unet=UNet2DConditionModel.from_pretrained(folder / "unet"),
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_pipeline(work: Path, share: float, out: Path) -> None:
    """Replace `out` by the pipeline after `share` of the training, stored in float16."""
    write_pipeline(load_pipeline(work, share), out)


def write_pipeline(pipeline: StableDiffusionPipeline, out: Path) -> None:
    """Replace `out` by a pipeline, stored in float16."""
    if out.exists():
        shutil.rmtree(out)
    pipeline.to(dtype=torch.float16).save_pretrained(out)
    for config in (*out.glob("*/config.json"), out / "model_index.json"):
        _forget_origin(config)


def _forget_origin(config: Path) -> None:
    """diffusers notes the folder that a part was loaded from: a path of the machine that trains."""
    record = json.loads(config.read_text())
    record.pop("_name_or_path", None)
    config.write_text(json.dumps(record, indent=2) + "\n")
