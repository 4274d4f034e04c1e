"""`python -m testbed.flow.train --work WORK --seed S`: flow matching on the graded bench's exposures.

It trains a transformer and two text encoders, the testbed's early one and an untrained one. WORK is that of
`testbed.graded.train`, whose pools are taken or made. Leaves WORK/flow-seed{S}, a pipeline folder, and early
checkpoints beside it.
"""

import argparse
import copy
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch.nn.functional import mse_loss, pad
from transformers import CLIPTextModelWithProjection

from memscan.export.checkpoint.joint_text_encoders import JointTextEncoders
from testbed.assemble import write_pipeline
from testbed.bench.plan import Plan
from testbed.bench.pool import Pool
from testbed.denoiser import LOW_NOISE_SHARE, optimize
from testbed.flow.transformer import JOINT, T5_TOKENS, CountedTokens, new_transformer
from testbed.graded.captions import graded
from testbed.graded.pictures import commons
from testbed.graded.plan import dropouts, steps_of
from testbed.graded.train import START, load, pool_of
from testbed.text import WIDTH, token_ids

PASSES = 5  # through the exposures of the graded bench: this training starts from nothing
SHIFT = 3.0  # of the schedule, as Stable Diffusion 3's
LOW = 0.35  # s below which half of a batch is drawn; the testbed's t = 201 has sigma / alpha = s / (1 - s) at s = 0.34
EARLY = (0.10, 0.25, 0.50)


def folder_name(seed: int, share: float = 1.0) -> str:
    """Name of the pipeline folder after `share` of a training, in the work folder."""
    return f"flow-seed{seed}" + ("" if share == 1 else f"-at{round(100 * share):02d}")


def new_pipeline(seed: int) -> StableDiffusion3Pipeline:
    """What training starts from: the testbed's autoencoder, tokenizer and early text encoder; all else untrained."""
    early = load(START)
    torch.manual_seed(seed)
    first = CLIPTextModelWithProjection.from_pretrained(
        START / "text_encoder", projection_dim=WIDTH, torch_dtype=torch.float32
    )
    second = CLIPTextModelWithProjection(first.config)
    vae = AutoencoderKL.from_config(dict(early.vae.config) | {"shift_factor": 0.0})
    vae.load_state_dict(early.vae.state_dict())
    return StableDiffusion3Pipeline(
        transformer=new_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        vae=vae.eval().requires_grad_(False),
        text_encoder=first,
        tokenizer=early.tokenizer,
        text_encoder_2=second,
        tokenizer_2=early.tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def save(
    pipeline: StableDiffusion3Pipeline, out: Path, transformer: SD3Transformer2DModel, text: JointTextEncoders
) -> None:
    """Write a copy of the models as a pipeline folder, with the other parts of `pipeline`."""
    whole = copy.deepcopy(pipeline)
    plain = new_transformer()
    plain.load_state_dict(transformer.state_dict())
    first, second = copy.deepcopy((text.first, text.second))
    whole.register_modules(transformer=plain, text_encoder=first, text_encoder_2=second)
    write_pipeline(whole, out)


def draw_levels(size: int, generator: torch.Generator) -> torch.Tensor:
    """Noise levels s [size]: LOW_NOISE_SHARE of them, on average, below LOW; the others anywhere in [0, 1)."""
    low = LOW * torch.rand(size, generator=generator)
    anywhere = torch.rand(size, generator=generator)
    return torch.where(torch.rand(size, generator=generator) < LOW_NOISE_SHARE, low, anywhere)


def train(work: Path, seed: int) -> None:
    """Train one transformer; captions are never dropped but common ones, as on the graded bench with dropout 0."""
    pipeline, captions = new_pipeline(seed), graded(seed)
    once = pool_of(work, pipeline, seed)
    pool = Pool(once.latents, once.pictures.repeat(PASSES), once.texts.repeat(PASSES))
    plan = Plan.of(pool, dropouts(captions, 0, len(commons())), seed)
    prompts = [caption.prompt for caption in captions] + [caption.prompt for caption in commons()]
    ids = token_ids(pipeline.tokenizer, [*prompts, ""])
    generator = torch.Generator().manual_seed(seed)
    transformer, text = pipeline.transformer.train(), JointTextEncoders(pipeline.text_encoder, pipeline.text_encoder_2)
    transformer.set_attn_processor(CountedTokens(T5_TOKENS))
    text.requires_grad_(True).train()

    def loss(step: int) -> torch.Tensor:
        batch = plan.batch(step, generator)
        clean = batch.latents.float()
        noise, s = torch.randn(clean.shape, generator=generator), draw_levels(len(clean), generator)
        noisy = torch.lerp(clean, noise, s[:, None, None, None])
        states, pooled = text(ids[batch.texts], ids[batch.texts])
        states = pad(states, (0, JOINT - states.shape[2], 0, 1))
        return mse_loss(transformer(noisy, states, pooled, 1000 * s).sample, noise - clean)

    saves = {share: partial(save, pipeline, work / folder_name(seed, share)) for share in (*EARLY, 1.0)}
    optimize((transformer, text), loss, PASSES * steps_of(captions), saves)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for pools and pipelines, 150 MB for each seed")
    parser.add_argument("--seed", type=int, default=0, help="of counts, order and noise")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    train(arguments.work, arguments.seed)


if __name__ == "__main__":
    main()
