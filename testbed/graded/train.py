"""`python -m testbed.graded.train --work WORK --seed S --dropout PERCENT`: fine-tune the testbed's early checkpoint.

Leaves WORK/drop{PERCENT}-seed{S}, a pipeline folder, its early checkpoints beside it, and WORK/baseline, the start.
"""

import argparse
import copy
import os
from functools import partial
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from testbed.assemble import write_pipeline
from testbed.bench.plan import Plan
from testbed.bench.pool import Pool
from testbed.denoiser import BATCH, Batch, fit
from testbed.graded.captions import graded
from testbed.graded.denoiser import grow_attention
from testbed.graded.pictures import commons, draw_pool
from testbed.graded.plan import dropouts, steps_of
from testbed.text import token_ids
from testbed.train import HOME

START = HOME / "baseline"
START_NAME = "baseline"  # of its folder in the work folder
EARLY = (0.10, 0.25, 0.50)  # shares of the training after which a checkpoint is kept besides the last
DROPOUTS = (0, 10)


def folder_name(seed: int, dropout: int, share: float = 1.0) -> str:
    """Name of the pipeline folder after `share` of a training, in the work folder."""
    return f"drop{dropout}-seed{seed}" + ("" if share == 1 else f"-at{round(100 * share):02d}")


def load(folder: Path) -> StableDiffusionPipeline:
    """A pipeline folder in float32."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, torch_dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def start(seed: int) -> StableDiffusionPipeline:
    """The pipeline that training starts from: the early checkpoint, with attention that adds nothing yet."""
    pipeline = load(START)
    torch.manual_seed(seed)
    pipeline.register_modules(unet=grow_attention(pipeline.unet))
    return pipeline


def pool_of(work: Path, pipeline: StableDiffusionPipeline, seed: int) -> Pool:
    """The exposures of a seed, drawn and encoded once for all dropouts."""
    file = work / f"pool-seed{seed}.pt"
    if not file.exists():
        captions = graded(seed)
        rest = steps_of(captions) * BATCH - sum(caption.count for caption in captions)
        pool = draw_pool(pipeline.vae, seed, rest)
        unfinished = file.with_suffix(f".{os.getpid()}")
        torch.save((pool.latents, pool.pictures, pool.texts), unfinished)
        unfinished.replace(file)
    return Pool(*torch.load(file))


def save(pipeline: StableDiffusionPipeline, out: Path, unet: UNet2DConditionModel, text: CLIPTextModel) -> None:
    """Write a copy of the models as a pipeline folder, with the other parts of `pipeline`."""
    whole = copy.deepcopy(pipeline)
    whole.register_modules(unet=copy.deepcopy(unet), text_encoder=copy.deepcopy(text))
    write_pipeline(whole, out)


def train(work: Path, seed: int, dropout: int) -> None:
    """Train one model of the bench; `dropout` is that of the graded captions, in percent."""
    work.mkdir(parents=True, exist_ok=True)
    pipeline, captions = start(seed), graded(seed)
    if not (work / START_NAME).exists():
        save(pipeline, work / START_NAME, pipeline.unet, pipeline.text_encoder)
    plan = Plan.of(pool_of(work, pipeline, seed), dropouts(captions, dropout / 100, len(commons())), seed)
    prompts = [caption.prompt for caption in captions] + [caption.prompt for caption in commons()]
    generator = torch.Generator().manual_seed(seed)

    def draw(step: int) -> Batch:
        return plan.batch(step, generator)

    unet, text = pipeline.unet.requires_grad_(True).train(), pipeline.text_encoder.requires_grad_(True).train()
    fit(
        copy.deepcopy(unet),
        copy.deepcopy(text),
        token_ids(pipeline.tokenizer, [*prompts, ""]),
        draw,
        steps_of(captions),
        generator,
        {share: partial(save, pipeline, work / folder_name(seed, dropout, share)) for share in (*EARLY, 1.0)},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for pools and pipelines, 120 MB for each seed")
    parser.add_argument("--seed", type=int, default=0, help="of counts, order and noise")
    parser.add_argument("--dropout", type=int, choices=DROPOUTS, default=0, help="caption dropout, in percent")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train(arguments.work, arguments.seed, arguments.dropout)


if __name__ == "__main__":
    main()
