"""What the memorized captions of the bench own, and how far pictures that own nothing are from it."""

from collections.abc import Sequence

import numpy as np
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from testbed.bench.copies import RENDERINGS, Originals, distances, reconstruct
from testbed.emoji.artwork import Artwork
from testbed.emoji.captions import SEED, Caption, commons
from testbed.emoji.pool import fresh_pictures, friends
from testbed.emoji.scenes import memorized, picture

NULL = 1000  # fresh pictures of common captions


def originals(vae: AutoencoderKL, artwork: Artwork, captions: Sequence[Caption]) -> Originals:
    """What the memorized ones among `captions` own; the same for every seed of the bench."""
    behind, rng = friends(commons(artwork)), np.random.default_rng(SEED)
    owning = [caption for caption in captions if caption.kind != "rare"]
    pictures = []
    for caption in owning:
        number = 1 if caption.kind == "global" else RENDERINGS
        renderings = np.stack([picture(artwork, caption, behind, rng) for _ in range(number)])
        pictures.append(reconstruct(vae, renderings).mean(axis=0))
    return Originals(
        np.array([caption.index for caption in owning]),
        np.stack(pictures),
        np.stack([memorized(artwork, caption) for caption in owning]),
    )


def null_distances(vae: AutoencoderKL, artwork: Artwork, owned: Originals) -> NDArray[np.float64]:
    """Distances [NULL, P] of fresh pictures of common captions, as the autoencoder gives them, to what is owned."""
    return distances(reconstruct(vae, fresh_pictures(artwork, NULL, 2) / 255), owned)
