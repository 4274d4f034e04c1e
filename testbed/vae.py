"""The autoencoder: 64x64x3 pictures to 16x16x4 latents and back, trained first and then frozen."""

import math

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch.nn.functional import l1_loss, mse_loss

from testbed.dataset import Pool

BATCH = 8
LEARNING_RATE = 2e-3
KL_WEIGHT = 1e-6
L1_WEIGHT = 0.3


def new_vae() -> AutoencoderKL:
    """An untrained autoencoder of about a quarter of a million parameters."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(24, 48, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )


def to_tensor(pictures: object) -> torch.Tensor:
    """uint8 pictures [N, H, W, 3] to float32 [N, 3, H, W] in [-1, 1]."""
    return torch.as_tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_vae(pool: Pool, steps: int, seed: int) -> AutoencoderKL:
    """Train on a pool, and set the scaling factor that gives the latents unit variance."""
    torch.manual_seed(seed)
    return fit_vae(new_vae(), pool.pictures, steps, seed)


def fit_vae(
    vae: AutoencoderKL, shown: NDArray[np.uint8], steps: int, seed: int, learning_rate: float = LEARNING_RATE
) -> AutoencoderKL:
    """Train an autoencoder in place on pictures [N, 64, 64, 3], and set its scaling factor; returns it, frozen."""
    vae.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=0)
    for step in range(1, steps + 1):
        decay = 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, step / 50) * decay
        chosen = torch.randint(len(shown), (BATCH,), generator=generator)
        pictures = to_tensor(shown[chosen.numpy()])
        posterior = vae.encode(pictures).latent_dist
        decoded = vae.decode(posterior.sample()).sample
        squared = mse_loss(decoded, pictures)
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        loss = squared + L1_WEIGHT * l1_loss(decoded, pictures) + KL_WEIGHT * divergence
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            print(f"vae {step}/{steps}  mse {squared.item():.4f}", flush=True)
    vae.eval().requires_grad_(False)
    sample = vae.encode(to_tensor(shown[:: max(1, len(shown) // 500)])).latent_dist.mode()
    vae.register_to_config(scaling_factor=1 / sample.std().item())
    return vae


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: object, batch: int = 64) -> torch.Tensor:
    """Latents [N, 4, 16, 16] of uint8 pictures [N, 64, 64, 3]: the posterior mode, scaled."""
    tensors = torch.as_tensor(pictures).split(batch)
    modes = [vae.encode(to_tensor(part)).latent_dist.mode() for part in tensors]
    return torch.cat(modes) * vae.config.scaling_factor
