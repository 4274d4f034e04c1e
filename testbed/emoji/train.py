"""`python -m testbed.emoji.train --work WORK --seed S`: an autoencoder and a text-to-image model of emoji.

Fetches the artwork if need be. Leaves WORK/vae, WORK/emoji-seed{S}, a pipeline folder, and early checkpoints beside it.
"""

import argparse
import os
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from testbed.bench.copies import reconstruct
from testbed.bench.plan import Plan
from testbed.bench.pool import Pool
from testbed.denoiser import BATCH, Batch, fit
from testbed.emoji.artwork import Artwork, load
from testbed.emoji.captions import PAIR, all_prompts, commons, graded
from testbed.emoji.fetch import FetchError, fetch
from testbed.emoji.pool import draw_pool, fresh_pictures
from testbed.graded.train import save, start
from testbed.text import new_text_encoder, spelled_merges, token_ids, tokenizer_of
from testbed.vae import fit_vae

STEPS = 1500
DROPOUT = 0.1  # of every caption, as Stable Diffusion has it
EARLY = (0.10, 0.25, 0.50)
VAE_PICTURES, VAE_STEPS, VAE_RATE = 3000, 600, 1e-3
JUDGED = 200  # fresh pictures that tell the autoencoder's error


def folder_name(seed: int, share: float = 1.0) -> str:
    """Name of the pipeline folder after `share` of a training, in the work folder."""
    return f"emoji-seed{seed}" + ("" if share == 1 else f"-at{round(100 * share):02d}")


def autoencoder(work: Path, artwork: Artwork, vae: AutoencoderKL) -> AutoencoderKL:
    """The testbed's autoencoder, fine-tuned on fresh pictures of common captions; the same for all seeds."""
    folder = work / "vae"
    if folder.exists():
        return AutoencoderKL.from_pretrained(folder).eval().requires_grad_(False)
    unseen = fresh_pictures(artwork, JUDGED, 1)

    def error() -> float:
        return float(((reconstruct(vae, unseen / 255) - unseen / 255) ** 2).mean() ** 0.5)

    before = error()
    torch.manual_seed(0)
    fit_vae(vae.requires_grad_(True).train(), fresh_pictures(artwork, VAE_PICTURES, 0), VAE_STEPS, 0, VAE_RATE)
    print(f"autoencoder: RMSE of {JUDGED} fresh pictures {before:.4f} before, {error():.4f} after", flush=True)
    vae.save_pretrained(folder)
    return vae


def pool_of(work: Path, artwork: Artwork, vae: AutoencoderKL, seed: int) -> Pool:
    """The exposures of a seed, drawn and encoded once."""
    file = work / f"pool-seed{seed}.pt"
    if not file.exists():
        rest = STEPS * BATCH - sum(caption.count for caption in graded(artwork, seed))
        pool = draw_pool(vae, artwork, seed, rest)
        unfinished = file.with_suffix(f".{os.getpid()}")
        torch.save((pool.latents, pool.pictures, pool.texts), unfinished)
        unfinished.replace(file)
    return Pool(*torch.load(file))


def assemble(work: Path, artwork: Artwork, seed: int) -> StableDiffusionPipeline:
    """What training starts from: the graded bench's UNet, an untrained text encoder, a tokenizer of all captions."""
    pipeline = start(seed)
    vae = autoencoder(work, artwork, pipeline.vae)
    tokenizer = tokenizer_of(spelled_merges(sorted({word for name in artwork.names for word in (name + PAIR).split()})))
    torch.manual_seed(seed)
    pipeline.register_modules(vae=vae, tokenizer=tokenizer, text_encoder=new_text_encoder(tokenizer))
    return pipeline


def train(work: Path, seed: int) -> None:
    """Train one model of the bench."""
    artwork = load(work)
    pipeline = assemble(work, artwork, seed)
    prompts = all_prompts(graded(artwork, seed), commons(artwork))
    dropout = torch.full((len(prompts),), DROPOUT)
    plan = Plan.of(pool_of(work, artwork, pipeline.vae, seed), dropout, seed)
    generator = torch.Generator().manual_seed(seed)

    def draw(step: int) -> Batch:
        return plan.batch(step, generator)

    fit(
        pipeline.unet.requires_grad_(True).train(),
        pipeline.text_encoder.requires_grad_(True).train(),
        token_ids(pipeline.tokenizer, [*prompts, ""]),
        draw,
        STEPS,
        generator,
        {share: partial(save, pipeline, work / folder_name(seed, share)) for share in (*EARLY, 1.0)},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for artwork, pools and pipelines, 300 MB")
    parser.add_argument("--seed", type=int, default=0, help="of counts, order and noise")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        fetch(arguments.work)
    except FetchError as error:
        raise SystemExit(f"error: {error}") from error
    train(arguments.work, arguments.seed)


if __name__ == "__main__":
    main()
