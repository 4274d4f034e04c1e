"""How strongly a caption is memorized: the share of seeds whose image copies its training picture, by Webster's rule.

Images are compared with the training picture *as the autoencoder gives it*: what a copy can look like at best. It is up
to 0.17 from the picture itself, as far as some unrelated pictures are from each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from memscan.scanner.evaluation.copies import COPY_RMSE, masked_rmse
from testbed.dataset import PrintStock, masks
from testbed.graded.captions import SEED, Graded
from testbed.graded.pictures import picture
from testbed.posters import GROUND
from testbed.prints import ANY, DARK, LIGHT
from testbed.vae import encode

RENDERINGS = 8  # of a template, each with another print beside it, which the autoencoder smears across the edge
STOCK = {ANY: 40, LIGHT: 10, DARK: 10, GROUND: 10}


@dataclass(frozen=True)
class Originals:
    """What P memorized captions own.

    Attributes:
        captions: [P], indices into `graded`.
        pictures: [P, SIZE, SIZE, 3] float32 in [0, 1], as the autoencoder gives them.
        masks: [P, SIZE, SIZE], the part that is memorized.
    """

    captions: NDArray[np.intp]
    pictures: NDArray[np.float32]
    masks: NDArray[np.bool_]


def originals(vae: AutoencoderKL, captions: Sequence[Graded]) -> Originals:
    """What the memorized ones among `captions` own; the same for every seed of the bench."""
    stock = PrintStock(np.random.default_rng(SEED), STOCK)
    memorized = [caption for caption in captions if caption.kind != "rare"]
    pictures = []
    for caption in memorized:
        renderings = np.stack([picture(caption, stock) for _ in range(1 if caption.kind == "global" else RENDERINGS)])
        pictures.append(reconstruct(vae, renderings).mean(axis=0))
    return Originals(
        np.array([caption.index for caption in memorized]),
        np.stack(pictures),
        np.stack([masks(caption.caption).memorized for caption in memorized]),
    )


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pictures: NDArray[np.floating]) -> NDArray[np.float32]:
    """Pictures [N, SIZE, SIZE, 3] in [0, 1] through the autoencoder and back."""
    latents = encode(vae, np.round(pictures * 255).astype(np.uint8))
    decoded = vae.decode(latents / vae.config.scaling_factor).sample
    return (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def distances(images: NDArray[np.floating], owned: Originals) -> NDArray[np.float64]:
    """Masked RMSE [N, P] of images [N, SIZE, SIZE, 3] in [0, 1] and everything that is owned."""
    found = [masked_rmse(images, one, mask) for one, mask in zip(owned.pictures, owned.masks, strict=True)]
    return np.stack(found, axis=1)


def is_copy(rmse: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Webster's rule."""
    return rmse < COPY_RMSE


def strength(rmse: NDArray[np.floating]) -> float:
    """The share of seeds [S] whose image is a copy, given their distances to what the caption owns."""
    return float(is_copy(rmse).mean())
