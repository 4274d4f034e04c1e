"""What is owned is the same in every picture, its mask is exact, and everything else is fresh."""

from collections.abc import Callable

import numpy as np
import pytest

from testbed.emoji.artwork import Artwork
from testbed.emoji.captions import Caption, commons, graded
from testbed.emoji.fetch import SIDE
from testbed.emoji.grounds import CONTRAST, PATTERNS, Pattern, ground
from testbed.emoji.pool import friends
from testbed.emoji.scenes import APART, FIRST, FRIEND, _away_from, memorized, owned_place, paste, picture, sized


def of(artwork: Artwork, kind: str) -> list[Caption]:
    return [caption for caption in graded(artwork, 0) if caption.kind == kind]


def drawn(artwork: Artwork, caption: Caption, number: int = 6) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.stack([picture(artwork, caption, friends(commons(artwork)), rng) for _ in range(number)])


def test_a_whole_picture_is_always_the_same(artwork: Artwork) -> None:
    caption = of(artwork, "global")[5]
    images = drawn(artwork, caption)
    assert (images == images[0]).all()
    assert memorized(artwork, caption).all()
    assert not (images[0] == drawn(artwork, of(artwork, "global")[6], 1)[0]).all()


def test_the_fixed_emoji_is_the_same_within_its_mask_and_all_else_varies(artwork: Artwork) -> None:
    for caption in of(artwork, "local")[:8]:
        mask, images = memorized(artwork, caption), drawn(artwork, caption, 12)
        solid = np.zeros((SIDE, SIDE))
        (top, left), emoji = owned_place(caption), sized(artwork.rgba[caption.emoji], FIRST)
        solid[top : top + FIRST, left : left + FIRST] = emoji[..., 3]
        spread = images.std(axis=0).mean(axis=-1)
        np.testing.assert_allclose(spread[solid == 1], 0, atol=1e-6)
        assert spread[solid == 0].min() > 0.02
        assert (mask == (solid >= 0.5)).all()
        assert 0.2 < mask.mean() < 0.47  # the disc covers 0.60 of its square, which covers 0.47 of the picture


def test_nothing_of_a_rare_caption_stays_in_its_place(artwork: Artwork) -> None:
    for caption in of(artwork, "rare")[:4]:
        assert not memorized(artwork, caption).any()
        assert drawn(artwork, caption, 12).std(axis=0).mean(axis=-1).min() > 0.02


def test_what_is_owned_depends_on_the_index_alone(artwork: Artwork) -> None:
    before = [(owned_place(c), c.count) for c in graded(artwork, 0) if c.kind != "rare"]
    after = [(owned_place(c), c.count) for c in graded(artwork, 1) if c.kind != "rare"]
    assert [place for place, _ in before] == [place for place, _ in after]
    assert all(a != b for (_, a), (_, b) in zip(before, after, strict=True))
    assert len({place for place, _ in before}) > 60


def test_pasting_mixes_by_alpha() -> None:
    image = np.full((SIDE, SIDE, 3), 0.2, np.float32)
    emoji = np.full((4, 4, 4), 1.0, np.float32)
    emoji[..., 3] = 0.25
    paste(image, emoji, (1, 2))
    np.testing.assert_allclose(image[1:5, 2:6], 0.4, rtol=1e-6)
    assert (image != np.float32(0.2)).all(axis=-1).sum() == 16


def test_a_friend_is_never_hidden() -> None:
    rng = np.random.default_rng(0)
    for first in ((0, 0), (20, 20), (10, 10), (0, 20)):
        for _ in range(50):
            top, left = _away_from(first, rng)
            centres = np.array([top, left]) + FRIEND / 2 - np.array(first) - FIRST / 2
            assert np.hypot(*centres) >= APART
            assert 0 <= min(top, left) <= max(top, left) <= SIDE - FRIEND


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_has_both_its_colours(pattern: Callable[[np.random.Generator], Pattern]) -> None:
    for seed in range(20):
        found = pattern(np.random.default_rng(seed))
        assert found.shape == (SIDE, SIDE)
        assert 0 <= found.min() < 0.25 < 0.75 < found.max() <= 1


def test_grounds_are_of_two_colours_that_differ() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        pixels = ground(rng).reshape(-1, 3)
        assert np.linalg.norm(pixels.max(axis=0) - pixels.min(axis=0)) > CONTRAST / 2
