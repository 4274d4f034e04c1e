"""Every exposure is in the pool as often as the counts say; whole pictures once, all others fresh."""

from collections import Counter

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from memscan.scanner.evaluation.copies import COPY_RMSE
from testbed.bench.copies import Originals, distances
from testbed.bench.pool import Pool
from testbed.emoji import captions as bench
from testbed.emoji import copies, pool
from testbed.emoji.artwork import Artwork
from testbed.emoji.captions import commons, graded
from testbed.emoji.copies import originals
from testbed.emoji.pool import draw_pool, fresh_pictures, friends
from testbed.emoji.scenes import memorized, picture

COMMON = 70


@pytest.fixture
def drawn(artwork: Artwork, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """The pool of a bench of three grades; latents are means of 4 x 4 pixels and their brightness."""

    def means(_: object, images: NDArray[np.uint8]) -> torch.Tensor:
        blocks = torch.from_numpy(images).double().reshape(-1, 16, 4, 16, 4, 3).mean(dim=(2, 4)).permute(0, 3, 1, 2)
        return torch.cat([blocks, blocks.mean(dim=1, keepdim=True)], dim=1) / 255

    monkeypatch.setattr(bench, "COUNTS", (1, 2, 4))
    monkeypatch.setattr(pool, "encode", means)
    return draw_pool(None, artwork, 0, COMMON)


def test_the_pool_has_every_caption_as_often_as_its_count(drawn: Pool, artwork: Artwork) -> None:
    captions, rest = graded(artwork, 0), commons(artwork)
    shown = Counter(drawn.texts.tolist())
    assert [shown[i] for i in range(len(captions))] == [caption.count for caption in captions]
    of_common = [shown[len(captions) + i] for i in range(len(rest))]
    assert sum(of_common) == COMMON
    assert max(of_common) - min(of_common) <= 1


def test_whole_pictures_are_one_and_all_others_are_fresh(drawn: Pool, artwork: Artwork) -> None:
    for caption in graded(artwork, 0):
        shown = drawn.pictures[drawn.texts == caption.index]
        assert len(shown.unique()) == (1 if caption.kind == "global" else caption.count)
        assert len(drawn.latents[shown].flatten(1).unique(dim=0)) == len(shown.unique())
    assert len(drawn.latents) == drawn.pictures.max() + 1


def test_fresh_pictures_follow_their_seed(artwork: Artwork) -> None:
    first, again, other = (fresh_pictures(artwork, 3, seed) for seed in (0, 0, 1))
    assert first.dtype == np.uint8
    assert (first == again).all()
    assert (first != other).any(axis=(1, 2, 3)).all()


def test_what_is_owned_is_what_every_picture_has_within_the_mask(
    artwork: Artwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "reconstruct", lambda _, pictures: pictures)
    captions = graded(artwork, 0)[::9]
    owned: Originals = originals(None, artwork, captions)
    owning = [caption for caption in captions if caption.kind != "rare"]
    assert owned.captions.tolist() == [caption.index for caption in owning]
    rng, behind = np.random.default_rng(9), friends(commons(artwork))
    images = np.stack([picture(artwork, caption, behind, rng) for caption in owning])
    found = distances(images, owned)
    assert np.diag(found).max() < 0.03  # the half-transparent edge mixes with the ground
    np.fill_diagonal(found, 1)
    assert found.min() > COPY_RMSE
    assert (owned.masks == np.stack([memorized(artwork, caption) for caption in owning])).all()
