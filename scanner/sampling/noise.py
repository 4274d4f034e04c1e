"""The initial latents that torch draws for a seed, without torch: a known (prompt, seed) pair gives the known image.

`"cpu"`: `torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))`. `"cuda"`: the same on a CUDA device,
exact while each element has a thread of its own: up to (multiprocessors x threads per multiprocessor) elements, which
is 40,960 on a T4 and 221,184 on an A100, against 16,384 for 4x64x64 latents; beyond, torch's values depend on the
device. A float16 pipeline starts from these values, rounded to float16.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.errors import RowError
from memscan.scanner.sampling.philox import philox4x32
from memscan.scanner.settings import Stream

_BLOCK = 16


def initial_latents(
    seeds: Sequence[int],
    shape: tuple[int, ...],
    stream: Stream = "cpu",
    generator: np.random.MT19937 | None = None,
) -> NDArray[np.float32]:
    """Standard normal noise [N, *shape], equal to torch's to float32 rounding of the transcendental functions.

    What a seed gives does not depend on the others, in any bit.

    Args:
        seeds: N of them, each as given to `manual_seed`; the CPU stream uses its low 32 bits, as torch does.
        shape: of one image, e.g. [C, h, w]; given a generator for each image, diffusers draws one by one too.
        generator: to be seeded anew, which takes a fiftieth of the time that making one does; not shared by threads.

    Raises:
        RowError: a seed is not in [0, 2^64).
    """
    for seed in seeds:
        check_seed(seed)
    size = math.prod(shape)
    if stream == "cuda":
        values = np.array([_cuda_normal(seed, size) for seed in seeds], np.float32)
    else:
        normal = _cpu_normal_short if size < _BLOCK else _cpu_normal
        values = normal(seeds, size, generator or np.random.MT19937())
    return values.reshape(len(seeds), *shape)


def check_seed(seed: int) -> None:
    """Check that torch has a generator of this seed.

    Raises:
        RowError: it has none.
    """
    if not 0 <= seed < 2**64:  # torch also takes negative seeds, as aliases of seed + 2^64
        raise RowError(f"seed {seed} is outside [0, 2^64): torch has no such generator")


def _cpu_words(seeds: Sequence[int], count: int, generator: np.random.MT19937) -> NDArray[np.uint32]:
    # RandomState, unlike Generator, is frozen by numpy: it seeds MT19937 by init_genrand.
    seeding = np.random.RandomState(generator)
    words = np.empty((len(seeds), count), np.uint32)
    for row, seed in zip(words, seeds, strict=True):
        seeding.seed(seed & 0xFFFFFFFF)
        row[:] = generator.random_raw(count)
    return words


def _cpu_normal(seeds: Sequence[int], size: int, generator: np.random.MT19937) -> NDArray[np.float32]:
    tail = size % _BLOCK
    words = _cpu_words(seeds, size + (_BLOCK if tail else 0), generator)
    uniform = (words & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)
    values = _box_muller_blocks(uniform[:, : size - tail])
    if not tail:
        return values
    # torch fills an incomplete last block by drawing the last 16 values again, over the end of the block before.
    last = _box_muller_blocks(uniform[:, -_BLOCK:])
    return np.concatenate([values[:, : size - _BLOCK], last], axis=1)


def _box_muller_blocks(uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of uniform values [N, n], n a multiple of 16."""
    blocks = uniform.reshape(len(uniform), uniform.shape[1] // _BLOCK, 2, _BLOCK // 2)
    radius = np.sqrt(-2 * np.log(1 - blocks[:, :, 0]))
    angle = np.float32(2 * np.pi) * blocks[:, :, 1]
    values = np.empty(blocks.shape, np.float32)
    np.multiply(radius, np.cos(angle), out=values[:, :, 0])
    np.multiply(radius, np.sin(angle), out=values[:, :, 1])
    return values.reshape(uniform.shape)


def _cpu_normal_short(seeds: Sequence[int], size: int, generator: np.random.MT19937) -> NDArray[np.float32]:
    # Below 16 values torch draws pairs in float64, from two words each: 53 bits, the first word the higher.
    count = (size + 1) // 2
    words = _cpu_words(seeds, 4 * count, generator).astype(np.uint64).reshape(len(seeds), count, 2, 2)
    mantissa = ((words[..., 0] << np.uint64(32)) | words[..., 1]) & np.uint64(2**53 - 1)
    uniform = mantissa.astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2 * np.log1p(-uniform[..., 1]))
    angle = 2 * np.pi * uniform[..., 0]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return pairs.reshape(len(seeds), 2 * count)[:, :size].astype(np.float32)


def _cuda_normal(seed: int, size: int) -> NDArray[np.float32]:
    # Thread i is subsequence i of the generator, and uses the first value of its first Box-Muller pair.
    counter = np.zeros((4, size), np.uint32)
    counter[2] = np.arange(size, dtype=np.uint32)
    words = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    uniform, turn = (words[:2].astype(np.float64) + 0.5) * 2.0**-32
    return (np.sqrt(-2 * np.log(uniform)) * np.sin(2 * np.pi * turn)).astype(np.float32)
