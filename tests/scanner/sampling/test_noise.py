"""Initial latents against torch's own generator, published CUDA values, and Random123's known answers."""

import numpy as np
import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray

from memscan.scanner.errors import RowError
from memscan.scanner.sampling.noise import initial_latents
from memscan.scanner.sampling.philox import philox4x32
from memscan.scanner.settings import Stream

SEEDS = [0, 1, 2**31, 2**32 - 1, 2**32 + 5, 2**63 - 1, 2**64 - 1]
SIZES = [1, 2, 7, 15, 16, 17, 31, 32, 33, 100, 4 * 64 * 64]
"""Below 16 torch draws pairs in float64; from 16 blocks, of which an incomplete last one overwrites the one before."""

CUDA_RANDN_12 = [-0.92466259, -0.42534415, -2.6438457, 0.14518388, -0.12086647, -0.57972564]
CUDA_RANDN_12 += [-0.62285122, -0.32838709, -1.07454231, -0.36314407, -1.67105067, 2.26550497]
"""`torch.randn(12, generator=torch.Generator("cuda").manual_seed(0))`, as published."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", SEEDS)
def test_cpu_stream_equals_torch(seed: int, size: int) -> None:
    expected = torch.randn(size, generator=torch.Generator("cpu").manual_seed(seed)).numpy()
    # Values reach 5 and torch's vectorised log, sin and cos round differently from numpy's.
    np.testing.assert_allclose(initial_latents([seed], (size,))[0], expected, rtol=0, atol=1e-6)


def test_cpu_stream_draws_each_image_of_a_batch_as_diffusers_does() -> None:
    seeds = [3, 4, 5]
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    batch = randn_tensor((3, 4, 8, 6), generator=generators).numpy()
    latents = initial_latents(seeds, (4, 8, 6))
    assert latents.dtype == np.float32
    np.testing.assert_allclose(latents, batch, rtol=0, atol=1e-6)


def noise_of_one(seed: int, size: int) -> NDArray[np.float32]:
    """The CPU stream as it was first written, for one image by itself."""
    tail = size % 16
    generator = np.random.RandomState(seed & 0xFFFFFFFF)
    if size < 16:
        count = (size + 1) // 2
        pairs = np.frombuffer(generator.bytes(16 * count), "<u4").astype(np.uint64).reshape(count, 2, 2)
        mantissa = ((pairs[..., 0] << np.uint64(32)) | pairs[..., 1]) & np.uint64(2**53 - 1)
        uniform = mantissa.astype(np.float64) * 2.0**-53
        radius, angle = np.sqrt(-2 * np.log1p(-uniform[:, 1])), 2 * np.pi * uniform[:, 0]
        both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return both.reshape(-1)[:size].astype(np.float32)
    words = np.frombuffer(generator.bytes(4 * (size + (16 if tail else 0))), "<u4")
    values = (words & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)

    def normal(uniform: NDArray[np.float32]) -> NDArray[np.float32]:
        blocks = uniform.reshape(-1, 2, 8)
        radius, angle = np.sqrt(-2 * np.log(1 - blocks[:, 0])), np.float32(2 * np.pi) * blocks[:, 1]
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)

    if not tail:
        return normal(values)
    return np.concatenate([normal(values[: size - tail])[: size - 16], normal(values[-16:])])


@pytest.mark.parametrize("size", [*SIZES, 4 * 16 * 16])
def test_a_batch_changes_no_bit_of_any_seeds_stream(size: int) -> None:
    """Of batches that fill the lanes of vector instructions and that do not, with other neighbours each time."""
    for seeds in (SEEDS, SEEDS[::-1][:3], list(range(65))):
        together = initial_latents(seeds, (size,))
        for seed, noise in zip(seeds, together, strict=True):
            np.testing.assert_array_equal(noise.view(np.uint32), noise_of_one(seed, size).view(np.uint32))


def test_a_generator_that_was_used_before_changes_nothing() -> None:
    generator = np.random.MT19937(5)
    first = initial_latents(SEEDS, (4, 8, 6), generator=generator)
    np.testing.assert_array_equal(initial_latents(SEEDS, (4, 8, 6), generator=generator), first)


@pytest.mark.parametrize("stream", ["cpu", "cuda"])
@pytest.mark.parametrize("shape", [(2, 3), (4, 8, 8)], ids=str)
def test_no_seeds_are_no_noise(shape: tuple[int, ...], stream: Stream) -> None:
    assert initial_latents([], shape, stream).shape == (0, *shape)


def test_cpu_stream_is_the_rounded_start_of_a_float16_pipeline() -> None:
    generator = torch.Generator("cpu").manual_seed(9)
    half = torch.randn((4, 8, 8), generator=generator, dtype=torch.float16).numpy()
    np.testing.assert_allclose(initial_latents([9], (4, 8, 8))[0], half, rtol=2**-10, atol=1e-3)


def test_cuda_stream_equals_published_values() -> None:
    np.testing.assert_allclose(initial_latents([0], (12,), "cuda")[0], CUDA_RANDN_12, rtol=1e-7)


def test_cuda_stream_gives_an_element_the_same_value_in_any_shape() -> None:
    np.testing.assert_array_equal(
        initial_latents([7], (4, 16, 16), "cuda").ravel()[:12], initial_latents([7], (12,), "cuda")[0]
    )


def test_cuda_stream_uses_all_64_bits_of_a_seed() -> None:
    low, high = initial_latents([5, 5 + 2**32], (16,), "cuda")
    assert not np.isclose(low, high).any()


def test_cuda_stream_is_standard_normal() -> None:
    values = initial_latents([1], (100_000,), "cuda").astype(np.float64)
    assert abs(values.mean()) < 4 / np.sqrt(values.size)
    assert abs(values.var() - 1) < 4 * np.sqrt(2 / values.size)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("seed", SEEDS)
def test_cuda_stream_equals_torch(seed: int) -> None:
    generator = torch.Generator("cuda").manual_seed(seed)
    expected = torch.randn((4, 64, 64), generator=generator, device="cuda").cpu().numpy()
    np.testing.assert_allclose(initial_latents([seed], (4, 64, 64), "cuda")[0], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("stream", ["cpu", "cuda"])
@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_outside_torchs_range_is_refused(seed: int, stream: Stream) -> None:
    with pytest.raises(RowError, match=rf"^seed {seed} is outside \[0, 2\^64\): torch has no such generator$"):
        initial_latents([3, seed], (4, 8, 8), stream)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([2**32 - 1] * 4, (2**32 - 1,) * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
    ids=["zeros", "ones", "digits of pi"],
)
def test_philox_gives_the_known_answers_of_random123(
    counter: list[int], key: tuple[int, int], words: list[int]
) -> None:
    assert philox4x32(np.array(counter, np.uint32)[:, None], key)[:, 0].tolist() == words
