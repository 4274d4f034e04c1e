"""Random-weight pipelines whose denoisers take more than latents and text: see `save_pipeline` of `tiny_pipeline`."""

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from tests.export.checkpoint.spoil import drop, edit
from tests.tiny_pipeline import POOLED, save_pipeline

MEMBERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lcm": ("sd1", "LatentConsistencyModelPipeline", {"time_cond_proj_dim": 33}),
    "inpainting": ("sd1", "StableDiffusionInpaintPipeline", {"in_channels": 9}),
    "depth": ("sd2", "StableDiffusionDepth2ImgPipeline", {"in_channels": 5}),
    "edit": ("sd1", "StableDiffusionInstructPix2PixPipeline", {"in_channels": 8}),
    "projected": ("sd1", "StableDiffusionPipeline", {"encoder_hid_dim": 32, "cross_attention_dim": 40}),
    "xl-inpainting": ("sdxl", "StableDiffusionXLInpaintPipeline", {"in_channels": 9}),
    "refiner": (
        "sdxl",
        "StableDiffusionXLImg2ImgPipeline",
        {"cross_attention_dim": 16, "projection_class_embeddings_input_dim": POOLED + 5 * 8},
    ),
}
"""Name -> the architecture that it is made of, the class of its pipeline, and what is otherwise in its denoiser."""


def save_member(folder: Path, name: str) -> Path:
    """Save a tiny pipeline of a name of `MEMBERS`."""
    architecture, pipeline, changes = MEMBERS[name]
    save_pipeline(folder, family=architecture)
    config = UNet2DConditionModel.load_config(folder / "unet")
    torch.manual_seed(1)
    UNet2DConditionModel.from_config({**config, **changes}).save_pretrained(folder / "unet")
    edit(folder / "model_index.json", _class_name=pipeline)
    if name == "lcm":
        edit(folder / "scheduler/scheduler_config.json", _class_name="LCMScheduler")
        edit(folder / "model_index.json", scheduler=["diffusers", "LCMScheduler"])
        drop(folder / "scheduler/scheduler_config.json", "skip_prk_steps")
    if name == "refiner":
        for part in ("text_encoder", "tokenizer"):
            (folder / part).rename(folder / f"unused_{part}")
        edit(
            folder / "model_index.json",
            requires_aesthetics_score=True,
            force_zeros_for_empty_prompt=False,
            text_encoder=[None, None],
            tokenizer=[None, None],
        )
    return folder
