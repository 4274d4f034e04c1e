"""How strongly a caption is memorized: the share of seeds whose image copies its training picture, by Webster's rule.

Images are compared with the training picture *as the autoencoder gives it*: what a copy can look like at best. It is up
to 0.17 from the picture itself, as far as some unrelated pictures are from each other.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from memscan.scanner.evaluation.copies import COPY_RMSE, masked_rmse
from testbed.vae import encode

RENDERINGS = 8  # of a template, each with other things beside it, which the autoencoder smears across the edge


@dataclass(frozen=True)
class Originals:
    """What P memorized captions own.

    Attributes:
        captions: [P], indices of the graded captions.
        pictures: [P, H, W, 3] float32 in [0, 1], as the autoencoder gives them.
        masks: [P, H, W], the part that is memorized.
    """

    captions: NDArray[np.intp]
    pictures: NDArray[np.float32]
    masks: NDArray[np.bool_]


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pictures: NDArray[np.floating]) -> NDArray[np.float32]:
    """Pictures [N, H, W, 3] in [0, 1] through the autoencoder and back."""
    latents = encode(vae, np.round(pictures * 255).astype(np.uint8))
    decoded = vae.decode(latents / vae.config.scaling_factor).sample
    return (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def distances(images: NDArray[np.floating], owned: Originals) -> NDArray[np.float64]:
    """Masked RMSE [N, P] of images [N, H, W, 3] in [0, 1] and everything that is owned."""
    found = [masked_rmse(images, one, mask) for one, mask in zip(owned.pictures, owned.masks, strict=True)]
    return np.stack(found, axis=1)


def is_copy(rmse: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Webster's rule."""
    return rmse < COPY_RMSE


def strength(rmse: NDArray[np.floating]) -> float:
    """The share of seeds [S] whose image is a copy, given their distances to what the caption owns."""
    return float(is_copy(rmse).mean())
