"""What a training shows: each graded caption as often as its count says, common ones in between, all encoded."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from testbed.bench.pool import Pool, chunks
from testbed.emoji.artwork import Artwork
from testbed.emoji.captions import SEED, Caption, Common, commons, graded
from testbed.emoji.scenes import Image, picture
from testbed.vae import encode


def friends(others: Sequence[Common]) -> NDArray[np.intp]:
    """The emoji that stand behind others: those of the common captions."""
    return np.unique([other.emoji for other in others])


def fresh_pictures(artwork: Artwork, size: int, seed: int) -> NDArray[np.uint8]:
    """Pictures [size, SIDE, SIDE, 3] of common captions, that no training shows again."""
    rng, others = np.random.default_rng([SEED, seed, size]), commons(artwork)
    chosen = rng.integers(len(others), size=size)
    drawn = (picture(artwork, others[i], friends(others), rng) for i in chosen)
    return np.concatenate(list(chunks(drawn)))


def draw_pool(vae: AutoencoderKL, artwork: Artwork, seed: int, common: int) -> Pool:
    """Draw and encode the exposures of a seed: those of the graded captions, and `common` others, shared evenly."""
    captions: tuple[Caption, ...] = graded(artwork, seed)
    others = commons(artwork)
    rng = np.random.default_rng([SEED, seed])
    shared = len(captions) + rng.permutation(np.arange(common) % len(others))
    texts = np.concatenate([np.repeat(range(len(captions)), [caption.count for caption in captions]), shared])
    distinct = np.array([t >= len(captions) or captions[t].kind != "global" for t in texts])
    distinct[1:] |= texts[1:] != texts[:-1]
    distinct[0] = True
    behind, every = friends(others), (*captions, *others)

    def drawn() -> Iterator[Image]:
        for text in texts[distinct]:
            yield picture(artwork, every[text], behind, rng)

    latents = torch.cat([encode(vae, chunk).half() for chunk in chunks(drawn())])
    return Pool(latents, torch.from_numpy(distinct.cumsum() - 1), torch.from_numpy(texts))
