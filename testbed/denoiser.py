"""The denoiser: a small conditional UNet, its text encoder, and the loop that trains both on cached latents."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch.nn.functional import mse_loss
from transformers import CLIPTextModel

from testbed.captions import CAPTIONS, DROPOUT, frequencies

CHECKPOINTS = (0.05, 0.10, 0.15, 0.20, 0.25, 0.33, 0.50, 0.75, 1.00)
BATCH = 32
LEARNING_RATE = 1e-3
WARM_UP = 100
CONSTANT_SHARE = 0.4  # of the steps, before the cosine tail
LOW_NOISE_SHARE = 0.5  # of the batch, drawn from the timesteps where memorization is measured
LOW_NOISE = 250
EMA = 0.998


def new_unet() -> UNet2DConditionModel:
    """An untrained UNet of 2.4 million parameters on latents [N, 4, 16, 16]."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(48, 64, 80),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


@dataclass(frozen=True)
class Latents:
    """The encoded pool, sorted for drawing a caption first and then one of its pictures.

    Attributes:
        latents: [N, 4, 16, 16].
        first, count: [captions], where the pictures of each caption lie.
    """

    latents: torch.Tensor
    first: torch.Tensor
    count: torch.Tensor

    @classmethod
    def of(cls, latents: torch.Tensor, captions: torch.Tensor) -> "Latents":
        """Sort latents [N, 4, 16, 16] by their caption index [N]."""
        count = torch.bincount(captions, minlength=len(CAPTIONS))
        return cls(latents[captions.argsort(stable=True)], count.cumsum(0) - count, count)


@dataclass(frozen=True)
class Batch:
    """Latents [B, 4, 16, 16], the text [B] (caption index; len(CAPTIONS) is the empty prompt) and timesteps [B]."""

    latents: torch.Tensor
    texts: torch.Tensor
    timesteps: torch.Tensor


def draw_batch(data: Latents, size: int, generator: torch.Generator, progress: float = 1.0) -> Batch:
    """Draw captions by their frequency at `progress`, one picture each, drop captions, and draw timesteps."""
    shares = torch.tensor(frequencies(progress))
    captions = torch.multinomial(shares, size, replacement=True, generator=generator)
    offset = (torch.rand(size, generator=generator) * data.count[captions]).long()
    dropout = torch.tensor([DROPOUT[caption.kind] for caption in CAPTIONS])[captions]
    dropped = torch.rand(size, generator=generator) < dropout
    return Batch(
        data.latents[data.first[captions] + offset],
        torch.where(dropped, len(CAPTIONS), captions),
        draw_timesteps(size, generator),
    )


def draw_timesteps(size: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps [size]: LOW_NOISE_SHARE of them, on average, below LOW_NOISE; the others anywhere."""
    low = torch.randint(LOW_NOISE, (size,), generator=generator)
    anywhere = torch.randint(1000, (size,), generator=generator)
    return torch.where(torch.rand(size, generator=generator) < LOW_NOISE_SHARE, low, anywhere)


def _learning_rate(step: int, steps: int) -> float:
    tail = max(0.0, (step / steps - CONSTANT_SHARE) / (1 - CONSTANT_SHARE))
    return LEARNING_RATE * min(1, step / WARM_UP) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * tail)))


def train_denoiser(
    data: Latents,
    ids: torch.Tensor,
    text_encoder: CLIPTextModel,
    steps: int,
    seed: int,
    save: Callable[[float, UNet2DConditionModel, CLIPTextModel], None],
) -> None:
    """Train a UNet and the text encoder together; hand their moving averages to `save` at every checkpoint.

    Args:
        data: the encoded pool.
        ids: [len(CAPTIONS) + 1, S] token ids, the empty prompt last.
        text_encoder: untrained; trained in place.
        steps: optimizer steps.
        seed: of initialisation, batches and noise.
        save: called with the share of the training done, and the averaged models.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)

    def draw(step: int) -> Batch:
        return draw_batch(data, BATCH, generator, step / steps)

    fit(new_unet(), text_encoder, ids, draw, steps, generator, {share: partial(save, share) for share in CHECKPOINTS})


def fit(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    ids: torch.Tensor,
    draw: Callable[[int], Batch],
    steps: int,
    generator: torch.Generator,
    saves: Mapping[float, Callable[[UNet2DConditionModel, CLIPTextModel], None]],
) -> None:
    """Train a UNet and a text encoder together, in place; hand their moving averages over at checkpoints.

    Args:
        ids: [texts, S] token ids, which the texts of a batch index.
        draw: gives the batch of a step, counted from 1.
        steps: optimizer steps.
        generator: of the noise.
        saves: by share of the training, what takes the averaged models then.
    """
    unet.to(memory_format=torch.channels_last)
    noise_levels = new_scheduler().alphas_cumprod

    def loss(step: int) -> torch.Tensor:
        batch = draw(step)
        clean = batch.latents.float()
        noise = torch.randn(clean.shape, generator=generator)
        kept = noise_levels[batch.timesteps][:, None, None, None]
        noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
        states = text_encoder(ids[batch.texts]).last_hidden_state
        return mse_loss(unet(noisy, batch.timesteps, states).sample, noise)

    optimize((unet, text_encoder), loss, steps, saves)


def optimize(
    models: Sequence[torch.nn.Module],
    loss: Callable[[int], torch.Tensor],
    steps: int,
    saves: Mapping[float, Callable[..., None]],
) -> None:
    """Train models together, in place; hand their moving averages over at checkpoints.

    Args:
        loss: of a step, counted from 1.
        saves: by share of the training, what takes the averaged models then, in the order of `models`.
    """
    averaged = copy.deepcopy(tuple(models))
    parameters = [p for model in models for p in model.parameters()]
    averages = [p.requires_grad_(False) for model in averaged for p in model.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=1e-4, betas=(0.9, 0.99))
    checkpoints = {round(steps * share): save for share, save in saves.items()}
    running = 0.0
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, steps)
        value = loss(step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            weight = 1 - min(EMA, (1 + step) / (10 + step))
            torch._foreach_lerp_(averages, [p.detach() for p in parameters], weight)
        running += value.item() / 100
        if step % 100 == 0:
            print(f"denoiser {step}/{steps}  loss {running:.4f}", flush=True)
            running = 0.0
        if step in checkpoints:
            checkpoints[step](*averaged)
