"""`python -m testbed.emoji.train --work WORK --seed S`: an autoencoder and a text-to-image model of emoji.

Fetches the artwork if need be. Training has two parts: every exposure once, then those of the graded captions three
times more, among fewer common ones. Leaves WORK/vae, WORK/emoji-seed{S}, a pipeline folder, WORK/emoji-seed{S}-once,
what the first part left, and early checkpoints of this.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from testbed.bench.copies import reconstruct
from testbed.bench.plan import Plan
from testbed.bench.pool import Pool
from testbed.denoiser import BATCH, Batch, fit
from testbed.emoji.artwork import Artwork, load
from testbed.emoji.captions import PAIR, all_prompts, commons, graded
from testbed.emoji.fetch import FetchError, fetch
from testbed.emoji.pool import draw_pool, fresh_pictures
from testbed.graded.train import load as load_pipeline
from testbed.graded.train import save, start
from testbed.text import new_text_encoder, spelled_merges, token_ids, tokenizer_of
from testbed.vae import fit_vae

STEPS, MORE_STEPS = 2500, 2750
AGAIN = 3  # times that the second part shows a graded caption's exposures
DROPOUT = 0.1  # of every caption, as Stable Diffusion has it
EARLY = (0.10, 0.25, 0.50)
VAE_PICTURES, VAE_STEPS, VAE_RATE = 3000, 600, 1e-3
JUDGED = 200  # fresh pictures that tell the autoencoder's error


def folder_name(seed: int, share: float = 1.0) -> str:
    """Name of the pipeline folder after `share` of the first part of a training, in the work folder."""
    return f"emoji-seed{seed}" + ("-once" if share == 1 else f"-at{round(100 * share):02d}")


def trained_name(seed: int) -> str:
    """Name of the pipeline folder of the trained model, in the work folder."""
    return f"emoji-seed{seed}"


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


def graded_again(pool: Pool, captions: int, exposures: int, seed: int) -> Pool:
    """So many exposures of a pool: of its first `captions` texts `AGAIN` times all, of the others a choice."""
    own, common = (pool.texts < captions).nonzero().ravel(), (pool.texts >= captions).nonzero().ravel()
    chosen = common[torch.randperm(len(common), generator=torch.Generator().manual_seed(seed))]
    shown = torch.cat([own.repeat(AGAIN), chosen])[:exposures]
    return Pool(pool.latents, pool.pictures[shown], pool.texts[shown])


def train(work: Path, seed: int) -> None:
    """Train one model of the bench, from what its first part left if that is there."""
    artwork = load(work)
    captions = graded(artwork, seed)
    prompts = all_prompts(captions, commons(artwork))
    once = work / folder_name(seed)
    if not once.exists():
        pipeline = assemble(work, artwork, seed)
        early = {share: partial(save, pipeline, work / folder_name(seed, share)) for share in (*EARLY, 1.0)}
        show(pipeline, pool_of(work, artwork, pipeline.vae, seed), prompts, STEPS, seed, early)
    pipeline = load_pipeline(once)
    pool = graded_again(pool_of(work, artwork, pipeline.vae, seed), len(captions), MORE_STEPS * BATCH, seed)
    show(pipeline, pool, prompts, MORE_STEPS, seed, {1.0: partial(save, pipeline, work / trained_name(seed))})


def show(
    pipeline: StableDiffusionPipeline,
    pool: Pool,
    prompts: list[str],
    steps: int,
    seed: int,
    checkpoints: Mapping[float, Callable[[UNet2DConditionModel, CLIPTextModel], None]],
) -> None:
    """Train denoiser and text encoder on every exposure of a pool, once each."""
    plan = Plan.of(pool, torch.full((len(prompts),), DROPOUT), seed)
    generator = torch.Generator().manual_seed(seed)

    def draw(step: int) -> Batch:
        return plan.batch(step, generator)

    fit(
        pipeline.unet.requires_grad_(True).train(),
        pipeline.text_encoder.requires_grad_(True).train(),
        token_ids(pipeline.tokenizer, [*prompts, ""]),
        draw,
        steps,
        generator,
        checkpoints,
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
