"""What a graded caption shows: its template, one picture for every exposure, and the training's pool of latents."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from testbed.bench.pool import Pool, chunks
from testbed.captions import Caption, of_kind
from testbed.dataset import PrintStock, draw
from testbed.graded.captions import POSTER, SEED, Graded, graded
from testbed.posters import GROUND, draw_poster
from testbed.prints import ANY, DARK, LIGHT, Image, Tone, draw_print
from testbed.scenes import scene
from testbed.vae import encode

STOCK: dict[Tone, int] = {ANY: 3000, LIGHT: 600, DARK: 600, GROUND: 600}


@cache
def template(caption: Graded) -> Image:
    """What a memorized caption owns: the whole poster (global), or the print of zone A (local).

    Returns:
        [SIZE, SIZE, 3] float32 in [0, 1]; it depends on the caption's index alone, not on its count.
    """
    rng = np.random.default_rng([SEED, caption.index])
    if caption.kind == "global":
        return draw_poster(rng, lambda tone: draw_print(rng, tone=tone), caption.subject)
    return draw_print(rng, caption.style)


def picture(caption: Graded, stock: PrintStock) -> Image:
    """One training picture [SIZE, SIZE, 3] in [0, 1] of a caption; everything that is not memorized is fresh."""
    if caption.kind == "global":
        return template(caption)
    print_a = template(caption) if caption.kind == "local" else stock.pick()
    return scene(caption.subject).render(print_a, stock.pick())


def fresh_poster(rng: np.random.Generator, stock: PrintStock) -> Image:
    """A poster [SIZE, SIZE, 3] in [0, 1] that no caption owns."""
    return draw_poster(rng, stock.pick)


def commons() -> tuple[Caption, ...]:
    """The captions that the exposures of the graded ones are mixed with: the testbed's, of kind none."""
    return of_kind("none")


def common_texts(size: int, rng: np.random.Generator, first: int) -> NDArray[np.int64]:
    """Texts [size] of the common exposures, drawn by the captions' weights; `first` is the index of their first."""
    weights = np.array([caption.weight for caption in commons()])
    return first + rng.choice(len(weights), size=size, p=weights / weights.sum())


def draw_pool(vae: AutoencoderKL, seed: int, common: int, stock_sizes: dict[Tone, int] = STOCK) -> Pool:
    """Draw and encode what a training shows: each caption as often as its count says, and `common` others."""
    captions = graded(seed)
    rng = np.random.default_rng([SEED, seed])
    stock = PrintStock(rng, stock_sizes)
    shared = common_texts(common, rng, len(captions))
    texts = np.concatenate([np.repeat(range(len(captions)), [caption.count for caption in captions]), shared])
    distinct = np.array([t >= len(captions) or captions[t].kind != "global" for t in texts])
    distinct[1:] |= texts[1:] != texts[:-1]
    distinct[0] = True

    def drawn() -> Iterator[Image]:
        for text in texts[distinct]:
            if text >= len(captions):
                yield draw(commons()[text - len(captions)], rng, stock)
            elif captions[text].subject == POSTER:
                yield fresh_poster(rng, stock)
            else:
                yield picture(captions[text], stock)

    latents = torch.cat([encode(vae, chunk).half() for chunk in chunks(drawn())])
    return Pool(latents, torch.from_numpy(distinct.cumsum() - 1), torch.from_numpy(texts))
