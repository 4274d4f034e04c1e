"""The probes: what they cancel, what they leave, and that a seed means the same probes for ever."""

import hashlib
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from memscan.scanner.errors import UsageError
from memscan.scanner.metrics.probes import default_probes, hadamard_counts, lattice_counts, make_probes
from memscan.scanner.settings import ProbeKind, Probes

LATENT = (4, 6, 8)


def colours(count: int) -> NDArray[np.intp]:
    """The colouring that each K promises, for four channels, written coordinate by coordinate."""
    spatial = {
        4: lambda y, x: 0,
        8: lambda y, x: (y + x) % 2,
        16: lambda y, x: 2 * (y % 2) + x % 2,
        64: lambda y, x: 4 * (y % 4) + x % 4,
    }[count]
    channels, height, width = LATENT
    return np.array(
        [count // 4 * c + spatial(y, x) for c in range(channels) for y in range(height) for x in range(width)]
    )


def lattice_colours(count: int) -> NDArray[np.intp]:
    """The same of a lattice."""
    along = {2: (1, 1), 4: (2, 1), 8: (4, 2), 16: (8, 4)}[count]
    channels, height, width = LATENT
    return np.array(
        [
            (c + along[0] * y + along[1] * x) % count
            for c in range(channels)
            for y in range(height)
            for x in range(width)
        ]
    )


def estimate(jacobian: NDArray[np.float64], probes: NDArray[np.float32]) -> NDArray[np.float64]:
    vectors = probes.reshape(len(probes), -1).astype(np.float64)
    return (vectors * (vectors @ jacobian.T)).mean(axis=0)


@pytest.mark.parametrize("count", [4, 8, 16, 64])
def test_hadamard_is_exact_where_only_different_colours_interact(count: int) -> None:
    check_exact_between(colours(count), Probes("hadamard", count))


@pytest.mark.parametrize("count", [2, 4, 8, 16])
def test_a_lattice_is_exact_where_only_different_colours_interact(count: int) -> None:
    check_exact_between(lattice_colours(count), Probes("lattice", count))


def check_exact_between(colour: NDArray[np.intp], kind: Probes) -> None:
    jacobian = np.random.default_rng(0).standard_normal((colour.size, colour.size))
    jacobian[(colour[:, None] == colour[None]) & ~np.eye(colour.size, dtype=bool)] = 0
    np.testing.assert_allclose(estimate(jacobian, make_probes(kind, LATENT)), np.diag(jacobian), atol=1e-12)


@pytest.mark.parametrize(
    ("channels", "counts"), [(1, (2, 4)), (3, (2, 4, 8, 16)), (4, (2, 4, 8, 16)), (16, (2, 4, 8, 16, 32, 64))]
)
def test_lattice_counts_follow_the_channels(channels: int, counts: tuple[int, ...]) -> None:
    assert lattice_counts(channels) == counts
    for count in counts:
        probes = make_probes(Probes("lattice", count), (channels, 4, 4)).reshape(count, -1)
        assert len(np.unique(probes * probes[0], axis=1).T) == min(count, 4 * channels)


@pytest.mark.parametrize(("channels", "count"), [(4, 4), (4, 8), (4, 16), (16, 16), (16, 64)])
def test_a_lattice_tells_neighbours_apart_where_as_many_hadamard_probes_need_not(channels: int, count: int) -> None:
    """Channels of one pixel, and one channel of pixels that touch, diagonally too: all cancel."""
    vectors = make_probes(Probes("lattice", count), (channels, 4, 6)).reshape(count, -1).astype(np.float64)
    channel, y, x = (index.ravel() for index in np.indices((channels, 4, 6)))
    apart = np.maximum(abs(y[:, None] - y), abs(x[:, None] - x))
    same = channel[:, None] == channel
    must_cancel = ((apart == 0) & ~same) | ((apart == 1) & same)
    assert not (vectors.T @ vectors)[must_cancel].any()


@pytest.mark.parametrize("kind", ["hadamard", "lattice"])
@pytest.mark.parametrize("count", [4, 8, 16])
def test_what_shares_a_colour_is_randomised(kind: ProbeKind, count: int) -> None:
    # All pairs of one colour have the Jacobian entry 1: without random signs their sum would be a bias, not noise.
    colour = (colours if kind == "hadamard" else lattice_colours)(count)
    jacobian = ((colour[:, None] == colour[None]) & ~np.eye(colour.size, dtype=bool)).astype(np.float64)
    same_colour = colour.size // count - 1
    errors = np.stack([estimate(jacobian, make_probes(Probes(kind, count, seed), LATENT)) for seed in range(200)])
    standard_error = np.sqrt(same_colour / len(errors))
    assert abs(errors.mean(axis=0)).max() < 4.5 * standard_error  # 192 coordinates


@pytest.mark.parametrize("kind", get_args(ProbeKind))
def test_probes_are_signs_of_the_asked_shape(kind: ProbeKind) -> None:
    probes = make_probes(Probes(kind, 8), LATENT)
    assert probes.shape == (8, *LATENT)
    assert probes.dtype == np.float32
    assert set(np.unique(probes)) == {-1, 1}


@pytest.mark.parametrize(
    ("channels", "counts"), [(1, (1, 2, 4, 16)), (3, (4, 8, 16, 64)), (4, (4, 8, 16, 64)), (16, (16, 32, 64, 256))]
)
def test_hadamard_counts_follow_the_channels(channels: int, counts: tuple[int, ...]) -> None:
    assert hadamard_counts(channels) == counts
    for count in counts:
        probes = make_probes(Probes("hadamard", count), (channels, 4, 4)).reshape(count, channels, 4, 4)
        at_one_pixel = probes[:, :, 0, 0]
        assert (at_one_pixel.T @ at_one_pixel == count * np.eye(channels)).all()


def test_rademacher_signs_are_balanced_and_uncorrelated() -> None:
    probes = make_probes(Probes("rademacher", 64), LATENT).reshape(64, -1).astype(np.float64)
    assert abs(probes.mean()) < 4 / np.sqrt(probes.size)
    correlations = (probes.T @ probes / len(probes))[np.triu_indices(probes.shape[1], 1)]
    assert correlations.var() == pytest.approx(1 / len(probes), rel=0.05)


def test_fewer_rademacher_probes_are_the_first_of_more() -> None:
    few, many = (make_probes(Probes("rademacher", count, seed=3), LATENT) for count in (3, 7))
    np.testing.assert_array_equal(many[:3], few)


def test_seed_changes_the_probes() -> None:
    first, second = (make_probes(Probes("hadamard", 8, seed), LATENT) for seed in (0, 1))
    assert (first != second).any()


@pytest.mark.parametrize(
    ("probes", "digest"),
    [(Probes("hadamard", 8), "111bd2a0578bc3f5"), (Probes("rademacher", 5, seed=11), "99fb3c7f49567e49")],
    ids=["hadamard", "rademacher"],
)
def test_a_seed_means_the_same_probes_for_ever(probes: Probes, digest: str) -> None:
    # Results carry only the seed: were these digests to change, old results could not be reproduced.
    signs = make_probes(probes, LATENT).astype(np.int8).tobytes()
    assert hashlib.sha256(signs).hexdigest()[:16] == digest


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        (
            Probes("hadamard", 5),
            "^no Hadamard colouring of 4 channels has 5 probes: use 4, 8, 16, 64 probes, or rademacher for any number$",
        ),
        (
            Probes("lattice", 64),
            "^no lattice colouring of 4 channels has 64 probes: use 2, 4, 8, 16 probes, or rademacher for any number$",
        ),
        (Probes("rademacher", 0), "^0 probes: at least one is needed$"),
        (Probes("rademacher", 4, -1), r"^probe seed -1 is outside \[0, 2\^32\)$"),
        (Probes("rademacher", 4, 2**32), r"^probe seed 4294967296 is outside \[0, 2\^32\)$"),
    ],
)
def test_impossible_probes_are_refused(probes: Probes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_probes(probes, LATENT)


@pytest.mark.parametrize(("channels", "count"), [(1, 4), (2, 8), (3, 8), (4, 8), (8, 16), (12, 32), (16, 32)])
def test_default_probes_tell_the_channels_and_neighbours_of_a_pixel_apart(channels: int, count: int) -> None:
    """Jacobian terms between channels of one pixel, and between one channel's neighbouring pixels, cancel exactly."""
    probes = default_probes(channels)
    assert probes == Probes("lattice", count)
    height, width = 4, 6
    vectors = make_probes(probes, (channels, height, width)).reshape(count, -1).astype(np.float64)
    channel, y, x = (index.ravel() for index in np.indices((channels, height, width)))
    distance = abs(y[:, None] - y) + abs(x[:, None] - x)
    must_cancel = ((distance == 0) & (channel[:, None] != channel)) | ((distance == 1) & (channel[:, None] == channel))
    assert must_cancel.any()
    assert not (vectors.T @ vectors)[must_cancel].any()


def test_any_number_of_channels_has_default_probes() -> None:
    for channels in range(1, 129):
        assert make_probes(default_probes(channels), (channels, 2, 2)).shape[1] == channels
