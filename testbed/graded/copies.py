"""What the memorized captions of the graded bench own."""

from collections.abc import Sequence

import numpy as np
from diffusers import AutoencoderKL

from testbed.bench.copies import RENDERINGS, Originals, reconstruct
from testbed.dataset import PrintStock, masks
from testbed.graded.captions import SEED, Graded
from testbed.graded.pictures import picture
from testbed.posters import GROUND
from testbed.prints import ANY, DARK, LIGHT

STOCK = {ANY: 40, LIGHT: 10, DARK: 10, GROUND: 10}


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
