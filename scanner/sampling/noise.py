"""The initial latents that torch draws for a seed, without torch: a known (prompt, seed) pair gives the known image.

`"cpu"`: `torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))`. `"cuda"`: the same on a CUDA device,
exact while each element has a thread of its own: up to (multiprocessors x threads per multiprocessor) elements, which
is 40,960 on a T4 and 221,184 on an A100, against 16,384 for 4x64x64 latents; beyond, torch's values depend on the
device. A float16 pipeline starts from these values, rounded to float16.
"""

import math

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.errors import RowError
from memscan.scanner.sampling.philox import philox4x32
from memscan.scanner.settings import Stream

_BLOCK = 16


def initial_latents(
    seed: int, shape: tuple[int, ...], stream: Stream = "cpu", generator: np.random.RandomState | None = None
) -> NDArray[np.float32]:
    """Standard normal noise of `shape`, equal to torch's to float32 rounding of the transcendental functions.

    Args:
        seed: as given to `manual_seed`; the CPU stream uses its low 32 bits, as torch does.
        shape: of one image, e.g. [C, h, w]; given a generator for each image, diffusers draws one by one too.
        generator: to be seeded anew, which takes a fiftieth of the time that making one does; not shared by threads.

    Raises:
        RowError: the seed is not in [0, 2^64).
    """
    _check_seed(seed)
    size = math.prod(shape)
    generator = generator or np.random.RandomState()
    if stream == "cuda":
        values = _cuda_normal(seed, size)
    elif size < _BLOCK:
        values = _cpu_normal_short(seed, size, generator)
    else:
        values = _cpu_normal(seed, size, generator)
    return values.reshape(shape)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**64:  # torch also takes negative seeds, as aliases of seed + 2^64
        raise RowError(f"seed {seed} is outside [0, 2^64): torch has no such generator")


def _cpu_words(seed: int, count: int, generator: np.random.RandomState) -> NDArray[np.uint32]:
    # RandomState, unlike Generator, is frozen by numpy: MT19937 seeded by init_genrand, the words little-endian.
    generator.seed(seed & 0xFFFFFFFF)
    return np.frombuffer(generator.bytes(4 * count), "<u4")


def _cpu_normal(seed: int, size: int, generator: np.random.RandomState) -> NDArray[np.float32]:
    tail = size % _BLOCK
    words = _cpu_words(seed, size + (_BLOCK if tail else 0), generator)
    uniform = (words & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)
    values = _box_muller_blocks(uniform[: size - tail])
    if not tail:
        return values
    # torch fills an incomplete last block by drawing the last 16 values again, over the end of the block before.
    return np.concatenate([values[: size - _BLOCK], _box_muller_blocks(uniform[-_BLOCK:])])


def _box_muller_blocks(uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    blocks = uniform.reshape(-1, 2, _BLOCK // 2)
    radius = np.sqrt(-2 * np.log(1 - blocks[:, 0]))
    angle = np.float32(2 * np.pi) * blocks[:, 1]
    values = np.empty_like(blocks)
    np.multiply(radius, np.cos(angle), out=values[:, 0])
    np.multiply(radius, np.sin(angle), out=values[:, 1])
    return values.reshape(-1)


def _cpu_normal_short(seed: int, size: int, generator: np.random.RandomState) -> NDArray[np.float32]:
    # Below 16 values torch draws pairs in float64, from two words each: 53 bits, the first word the higher.
    count = (size + 1) // 2
    words = _cpu_words(seed, 4 * count, generator).astype(np.uint64).reshape(count, 2, 2)
    mantissa = ((words[..., 0] << np.uint64(32)) | words[..., 1]) & np.uint64(2**53 - 1)
    uniform = mantissa.astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2 * np.log1p(-uniform[:, 1]))
    angle = 2 * np.pi * uniform[:, 0]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(-1)[:size].astype(np.float32)


def _cuda_normal(seed: int, size: int) -> NDArray[np.float32]:
    # Thread i is subsequence i of the generator, and uses the first value of its first Box-Muller pair.
    counter = np.zeros((4, size), np.uint32)
    counter[2] = np.arange(size, dtype=np.uint32)
    words = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    uniform, turn = (words[:2].astype(np.float64) + 0.5) * 2.0**-32
    return (np.sqrt(-2 * np.log(uniform)) * np.sin(2 * np.pi * turn)).astype(np.float32)
