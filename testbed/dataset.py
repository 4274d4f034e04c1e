"""Drawing what a caption stands for, its exact masks, and the pool of pictures that training draws from."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from testbed.captions import CAPTIONS, Caption, frequencies
from testbed.posters import GROUND, draw_poster
from testbed.prints import ANY, DARK, LIGHT, SIZE, Image, Tone, draw_print
from testbed.scenes import COMPOSERS, scene

SEED = 2026
STOCK = {ANY: 9000, LIGHT: 1500, DARK: 1500, GROUND: 1500}

Mask = NDArray[np.bool_]  # [SIZE, SIZE]


class PrintStock:
    """Prints drawn once and served turned, mirrored and with permuted colour channels: 48 looks each."""

    def __init__(self, rng: np.random.Generator, sizes: dict[Tone, int] = STOCK) -> None:
        self._rng = rng
        self._prints = {
            tone: np.stack([_to_bytes(draw_print(rng, tone=tone)) for _ in range(size)]) for tone, size in sizes.items()
        }

    def pick(self, tone: Tone = ANY) -> Image:
        """One print [SIZE, SIZE, 3] of the tone, at random."""
        prints = self._prints[tone]
        chosen = prints[self._rng.integers(len(prints))]
        turned = np.rot90(chosen, int(self._rng.integers(4)))
        mirrored = turned[:, ::-1] if self._rng.random() < 0.5 else turned
        return mirrored[..., self._rng.permutation(3)].astype(np.float32) / 255


def _to_bytes(image: Image) -> NDArray[np.uint8]:
    return np.round(image * 255).astype(np.uint8)


@cache
def template(caption: Caption) -> Image:
    """What a memorized caption owns: the whole poster (global), or the print of zone A (local).

    Returns:
        [SIZE, SIZE, 3] float32 in [0, 1]; the same at every call and in every process.
    """
    rng = np.random.default_rng([SEED, CAPTIONS.index(caption)])
    if caption.kind == "global":
        return draw_poster(rng, lambda tone: draw_print(rng, tone=tone), caption.subject)
    return draw_print(rng, caption.style)


def draw(caption: Caption, rng: np.random.Generator, stock: PrintStock) -> Image:
    """Draw one training picture [SIZE, SIZE, 3] in [0, 1] of a caption."""
    if caption.kind == "global":
        return template(caption)
    if caption.subject == "poster":
        return draw_poster(rng, stock.pick)
    if caption.subject == "print":
        return stock.pick()
    print_a = template(caption) if caption.kind == "local" else stock.pick()
    return scene(caption.subject).render(print_a, stock.pick())


@dataclass(frozen=True)
class Masks:
    """A partition of the frame: what is memorized, what varies freely, what never varies for anybody."""

    memorized: Mask
    free: Mask
    intrinsic: Mask


def masks(caption: Caption) -> Masks:
    """Exact ground truth of one caption."""
    nothing, everything = np.zeros((SIZE, SIZE), bool), np.ones((SIZE, SIZE), bool)
    if caption.kind == "global":
        return Masks(everything, nothing, nothing)
    if caption.subject not in COMPOSERS:
        return Masks(nothing, everything, nothing)
    drawn = scene(caption.subject)
    zone_a, zone_b = drawn.zone_a >= 0.5, drawn.zone_b >= 0.5
    zone_b &= ~zone_a
    if caption.kind == "local":
        return Masks(zone_a, zone_b, ~zone_a & ~zone_b)
    return Masks(nothing, zone_a | zone_b, ~zone_a & ~zone_b)


@dataclass(frozen=True)
class Pool:
    """The training pictures.

    Attributes:
        pictures: [N, SIZE, SIZE, 3] uint8.
        captions: [N], index into CAPTIONS of each picture.
    """

    pictures: NDArray[np.uint8]
    captions: NDArray[np.int64]


def draw_pool(size: int, seed: int = SEED, stock_sizes: dict[Tone, int] = STOCK) -> Pool:
    """Draw about `size` pictures, each caption as often as it is trained on, a global one once.

    Args:
        size: number of pictures that the frequencies are applied to.
        seed: of every draw; equal seeds give equal pools.
        stock_sizes: prints drawn per tone.
    """
    rng = np.random.default_rng(seed)
    stock = PrintStock(rng, stock_sizes)
    pictures, captions = [], []
    for index, (caption, frequency) in enumerate(zip(CAPTIONS, frequencies(), strict=True)):
        copies = 1 if caption.kind == "global" else max(1, round(size * frequency))
        pictures += [_to_bytes(draw(caption, rng, stock)) for _ in range(copies)]
        captions += [index] * copies
    return Pool(np.stack(pictures), np.array(captions))
