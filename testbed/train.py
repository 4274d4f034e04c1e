"""`python -m testbed.train`: the whole recipe, from nothing to the two pipeline folders; 90 minutes on one core."""

import argparse
from functools import partial
from pathlib import Path

import torch

from testbed.assemble import save_checkpoint, save_pipeline
from testbed.captions import CAPTIONS
from testbed.dataset import draw_pool
from testbed.denoiser import Latents, train_denoiser
from testbed.text import build_tokenizer, new_text_encoder, token_ids
from testbed.vae import encode, train_vae

SEED = 0
POOL = 30_000
VAE_STEPS = 1_500
DENOISER_STEPS = 6_500
HOME = Path(__file__).parent


def prepare(work: Path) -> None:
    """Draw the pool, train the autoencoder and encode the pool, unless `work` holds them already."""
    if (work / "latents.pt").exists():
        return
    pool = draw_pool(POOL)
    vae = train_vae(pool, VAE_STEPS, SEED)
    vae.save_pretrained(work / "vae")
    latents = encode(vae, pool.pictures).half()
    torch.save((latents, torch.as_tensor(pool.captions)), work / "latents.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints, about 150 MB")
    parser.add_argument("--baseline", type=float, default=0.20, help="share of the training of the baseline")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    prepare(arguments.work)
    tokenizer = build_tokenizer()
    torch.manual_seed(SEED)
    train_denoiser(
        Latents.of(*torch.load(arguments.work / "latents.pt")),
        token_ids(tokenizer, [caption.prompt for caption in CAPTIONS] + [""]),
        new_text_encoder(tokenizer),
        DENOISER_STEPS,
        SEED,
        partial(save_checkpoint, arguments.work),
    )
    save_pipeline(arguments.work, 1.0, HOME / "pipeline")
    save_pipeline(arguments.work, arguments.baseline, HOME / "baseline")


if __name__ == "__main__":
    main()
