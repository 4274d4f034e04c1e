"""The fixed probe vectors of a run, entries +-1, for the diagonal estimate (1/K) sum_k v_k * (J v_k).

`hadamard` and `lattice` colour the coordinates and set v_k(i) = H[k, colour(i)] r(i): Jacobian terms that join
*different* colours cancel exactly, those within a colour are randomised by the signs r. Neighbours disturb each other
most, above all the channels of one pixel. `hadamard` tells channels apart first and then pixels, by a spatial tile;
`lattice` lets coordinates of one colour differ in channel and place at once, so that they lie farther apart:

    colour = channel + (K / 2) y + (K / 4) x  mod K,    for K = 2 channel + y + x  mod 2

`rademacher` draws r K times. docs/probes.md has what each is worth.

Signs come from `RandomState`, whose streams numpy has frozen: the same probes for the same seed, for ever.
"""

import math

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.settings import ProbeKind, Probes

_TILES = {1: (1, 1), 2: (2, 2), 4: (2, 2), 16: (4, 4)}
"""Spatial colours -> the tile that repeats; two colours are a checkerboard, others number the tile's pixels."""


_FEWEST = 8
"""Of the default: with fewer colours, what shares one adds more error than the probes save time."""


def default_probes(channels: int) -> Probes:
    """The probes of a model that names none: a lattice of twice as many colours as a pixel has channels, 8 at least.

    8 for 2 to 4 channels, 16 for 8, 32 for 12 and 16; 4 for one channel, which has no more.
    """
    return Probes("lattice", min(max(2 * _channel_colours(channels), _FEWEST), lattice_counts(channels)[-1]))


def counts(kind: ProbeKind, channels: int) -> tuple[int, ...]:
    """The numbers of probes that suit this many channels, ascending.

    Raises:
        ValueError: rademacher probes, of which there can be any number.
    """
    if kind == "rademacher":
        raise ValueError("there can be any number of rademacher probes")
    return lattice_counts(channels) if kind == "lattice" else hadamard_counts(channels)


def make_probes(probes: Probes, latent_shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """The probes of a run.

    Args:
        latent_shape: C, h, w.

    Returns:
        [K, C, h, w] of +-1.

    Raises:
        UsageError: K or the seed out of range, or a K for which there is no colouring of this many channels.
    """
    if probes.count < 1:
        raise UsageError(f"{probes.count} probes: at least one is needed")
    if not 0 <= probes.seed < 2**32:
        raise UsageError(f"probe seed {probes.seed} is outside [0, 2^32)")
    if probes.kind == "rademacher":
        return _random_signs(probes.seed, (probes.count, *latent_shape))
    lattice, suitable = probes.kind == "lattice", counts(probes.kind, latent_shape[0])
    if probes.count not in suitable:
        known = ", ".join(map(str, suitable))
        raise UsageError(
            f"no {'lattice' if lattice else 'Hadamard'} colouring of {latent_shape[0]} channels has {probes.count} "
            f"probes: use {known} probes, or rademacher for any number"
        )
    colour = (_lattice_colours if lattice else _colours)(latent_shape, probes.count)
    return _hadamard(probes.count)[:, colour] * _random_signs(probes.seed, latent_shape)


def hadamard_counts(channels: int) -> tuple[int, ...]:
    """The numbers of Hadamard probes that suit this many channels, ascending."""
    return tuple(_channel_colours(channels) * spatial for spatial in _TILES)


def lattice_counts(channels: int) -> tuple[int, ...]:
    """The numbers of lattice probes that suit this many channels, ascending: four pixels' channels at most."""
    return tuple(2**power for power in range(1, (4 * _channel_colours(channels)).bit_length()))


def _channel_colours(channels: int) -> int:
    return 1 << (channels - 1).bit_length()  # Hadamard matrices of Sylvester's kind have a power of two of rows


def _colours(latent_shape: tuple[int, int, int], count: int) -> NDArray[np.intp]:
    channel, y, x = np.indices(latent_shape)
    spatial = count // _channel_colours(latent_shape[0])
    height, width = _TILES[spatial]
    tile = (y + x) % 2 if spatial == 2 else y % height * width + x % width
    return channel * spatial + tile


def _lattice_colours(latent_shape: tuple[int, int, int], count: int) -> NDArray[np.intp]:
    channel, y, x = np.indices(latent_shape)
    of_place = y + x if count == 2 else count // 2 * y + count // 4 * x
    return (channel + of_place) % count


def _hadamard(size: int) -> NDArray[np.float32]:
    matrix = np.ones((1, 1), np.float32)
    for _ in range(int(math.log2(size))):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def _random_signs(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    count = math.prod(shape)
    packed = np.frombuffer(np.random.RandomState(seed).bytes(-(-count // 8)), np.uint8)
    return (1 - 2 * np.unpackbits(packed, count=count).astype(np.float32)).reshape(shape)
