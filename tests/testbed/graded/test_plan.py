"""The epoch plan is exact: every exposure once, in an order that the seed alone decides."""

from collections import Counter

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from testbed.bench.plan import Plan
from testbed.bench.pool import Pool
from testbed.dataset import PrintStock, masks
from testbed.graded import captions as bench
from testbed.graded import pictures
from testbed.graded.captions import COUNTS, PER_COUNT, graded
from testbed.graded.pictures import commons, draw_pool, picture, template
from testbed.graded.plan import GRADED_SHARE, dropouts, steps_of
from testbed.posters import GROUND
from testbed.prints import ANY, DARK, LIGHT

SMALL = {ANY: 24, LIGHT: 6, DARK: 6, GROUND: 6}
COMMON = 20


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    """The pool of a bench of three grades; latents are means of 4 x 4 pixels and their brightness."""

    def means(_: object, images: NDArray[np.uint8]) -> torch.Tensor:
        blocks = torch.from_numpy(images).double().reshape(-1, 16, 4, 16, 4, 3).mean(dim=(2, 4)).permute(0, 3, 1, 2)
        return torch.cat([blocks, blocks.mean(dim=1, keepdim=True)], dim=1) / 255

    monkeypatch.setattr(bench, "COUNTS", (1, 2, 4))
    monkeypatch.setattr(pictures, "encode", means)
    return draw_pool(None, 0, COMMON, SMALL)


def test_the_pool_has_every_caption_as_often_as_its_count(pool: Pool) -> None:
    captions = graded(0)
    shown = Counter(pool.texts.tolist())
    assert [shown[i] for i in range(len(captions))] == [caption.count for caption in captions]
    assert sum(shown[i] for i in range(len(captions), len(captions) + len(commons()))) == COMMON
    assert pool.latents.dtype == torch.float16


def test_whole_pictures_are_one_picture_and_all_others_are_fresh(pool: Pool) -> None:
    for caption in graded(0):
        shown = pool.pictures[pool.texts == caption.index]
        assert len(shown.unique()) == (1 if caption.kind == "global" else caption.count)
        latents = pool.latents[shown].flatten(1)
        assert len(latents.unique(dim=0)) == len(shown.unique())
    assert len(pool.latents) == pool.pictures.max() + 1


def test_a_template_is_the_same_in_every_picture_and_under_every_seed() -> None:
    stock = PrintStock(np.random.default_rng(0), SMALL)
    local = [caption for caption in graded(0) if caption.kind == "local"][::11]
    for caption, moved in zip(local, [graded(1)[caption.index] for caption in local], strict=True):
        assert caption.count != moved.count
        assert (template(caption) == template(moved)).all()
        images = np.stack([picture(caption, stock), picture(moved, stock)])
        spread = np.abs(images[0] - images[1]).mean(axis=-1)
        regions = masks(caption.caption)
        assert np.quantile(spread[regions.memorized], 0.90) < 1e-6
        assert spread[regions.free].mean() > 0.1


def test_batches_show_every_exposure_once(pool: Pool) -> None:
    texts = len(graded(0)) + len(commons())
    plan = Plan.of(pool, torch.zeros(texts), seed=3, size=5)
    generator = torch.Generator().manual_seed(0)
    steps = -(-len(pool.texts) // plan.size)
    batches = [plan.batch(step, generator) for step in range(1, steps + 1)]
    shown = torch.cat([batch.latents.flatten(1) for batch in batches])
    texts_shown = torch.cat([batch.texts for batch in batches])
    assert plan.order.sort().values.equal(torch.arange(len(pool.texts)))
    assert texts_shown.equal(pool.texts[plan.order])
    assert shown.equal(pool.latents[pool.pictures[plan.order]].flatten(1))
    assert not plan.order.equal(torch.arange(len(pool.texts)))


def test_order_depends_on_the_seed_and_not_on_the_dropout(pool: Pool) -> None:
    captions = graded(0)
    none, tenth = (Plan.of(pool, dropouts(captions, share, len(commons())), 1) for share in (0.0, 0.1))
    assert none.order.equal(tenth.order)
    assert not none.order.equal(Plan.of(pool, none.dropout, 2).order)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_captions_are_dropped_as_often_as_said(dropout: float) -> None:
    size = 40_000
    captions = graded(0)
    texts = torch.arange(size) % (len(captions) + len(commons()))
    pool = Pool(torch.zeros(1, 4, 16, 16), torch.zeros(size, dtype=torch.long), texts)
    plan = Plan.of(pool, dropouts(captions, dropout, len(commons())), 0, size)
    batch = plan.batch(1, torch.Generator().manual_seed(0))
    shown = pool.texts[plan.order]
    dropped = batch.texts == len(plan.dropout)
    of_graded = shown < len(captions)
    assert dropped[of_graded].float().mean() == pytest.approx(dropout, abs=0.008)  # 5 standard errors of 36,860
    assert dropped[~of_graded].float().mean() == pytest.approx(0.15, abs=0.032)  # 5 standard errors of 3,140
    assert batch.texts[~dropped].equal(shown[~dropped])


def test_graded_captions_have_their_share_of_the_exposures() -> None:
    captions = graded(0)
    exposures = sum(COUNTS) * sum(PER_COUNT.values())
    assert sum(caption.count for caption in captions) == exposures == 2047 * 16
    assert steps_of(captions) == 1706
    assert exposures / (steps_of(captions) * 32) == pytest.approx(GRADED_SHARE, abs=0.0005)
