"""The pictures are what the ground truth says: masks partition the frame, fixed is fixed, free is free."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from testbed.captions import CAPTIONS, Caption, of_kind
from testbed.dataset import PrintStock, draw, draw_pool, masks, template
from testbed.posters import GROUND
from testbed.prints import ANY, DARK, LIGHT, SIZE, STYLES, draw_print

SMALL_STOCK = {ANY: 24, LIGHT: 6, DARK: 6, GROUND: 6}
DRAWS = 8


@cache
def small_stock() -> PrintStock:
    return PrintStock(np.random.default_rng(1), SMALL_STOCK)


@cache
def drawn(caption: Caption) -> NDArray[np.float32]:
    rng = np.random.default_rng(2)
    return np.stack([draw(caption, rng, small_stock()) for _ in range(DRAWS)])


@pytest.mark.parametrize("caption", CAPTIONS, ids=lambda c: f"{c.kind}-{c.subject}")
def test_masks_partition_the_frame(caption: Caption) -> None:
    regions = masks(caption)
    layers = np.stack([regions.memorized, regions.free, regions.intrinsic]).astype(int)
    assert (layers.sum(axis=0) == 1).all()


def test_a_mask_of_ones_is_a_bad_answer_on_local_captions() -> None:
    regions = [masks(caption) for caption in of_kind("local")]
    share = {name: np.mean([getattr(r, name).mean() for r in regions]) for name in ("memorized", "free", "intrinsic")}
    assert 0.40 < share["memorized"] < 0.60
    assert share["free"] > 0.18
    assert share["intrinsic"] > 0.20


@pytest.mark.parametrize("caption", of_kind("local"), ids=lambda c: c.subject)
def test_local_pictures_vary_in_the_free_region_only(caption: Caption) -> None:
    regions, spread = masks(caption), drawn(caption).std(axis=0).mean(axis=-1)
    # Antialiased edges mix a little of the neighbouring zone into the outermost pixels of a region.
    assert np.quantile(spread[regions.memorized], 0.90) < 1e-6
    assert np.quantile(spread[regions.intrinsic], 0.85) < 1e-6
    assert spread[regions.free].mean() > 0.15
    assert np.quantile(spread[regions.free], 0.05) > 0.08


@pytest.mark.parametrize("caption", of_kind("none"), ids=lambda c: c.subject)
def test_unmemorized_pictures_vary_outside_the_intrinsic_region(caption: Caption) -> None:
    regions, spread = masks(caption), drawn(caption).std(axis=0).mean(axis=-1)
    assert spread[regions.free].mean() > 0.15
    if regions.intrinsic.any():
        assert np.quantile(spread[regions.intrinsic], 0.85) < 1e-6


@pytest.mark.parametrize("caption", of_kind("global"), ids=lambda c: c.subject)
def test_global_pictures_have_no_flat_part(caption: Caption) -> None:
    pictures = drawn(caption)
    assert (pictures == pictures[0]).all()
    blocks = pictures[0].reshape(8, 8, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(64, 64, 3)
    assert (blocks.std(axis=1).mean(axis=-1) > 0.02).mean() > 0.97


def test_intrinsic_region_is_shared_by_local_and_unmemorized_pictures() -> None:
    for caption in of_kind("local"):
        plain = next(c for c in of_kind("none") if c.subject == caption.subject)
        # The inside of the region: its edge pixels mix in the prints beside it.
        inside = (drawn(caption).std(axis=0).mean(axis=-1) < 1e-6) & (drawn(plain).std(axis=0).mean(axis=-1) < 1e-6)
        inside &= masks(caption).intrinsic
        assert inside.mean() > 0.15
        assert np.abs(drawn(caption)[0] - drawn(plain)[0])[inside].max() < 1e-6


def test_templates_differ_from_each_other() -> None:
    memorized = [template(caption) for caption in CAPTIONS if caption.kind != "none"]
    distances = [np.abs(a - b).mean() for i, a in enumerate(memorized) for b in memorized[:i]]
    assert min(distances) > 0.10


@pytest.mark.parametrize("style", STYLES)
def test_print_fills_the_frame_within_range(style: str) -> None:
    image = draw_print(np.random.default_rng(0), style)
    assert image.shape == (SIZE, SIZE, 3)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1


def test_pool_is_drawn_by_frequency_and_reproducible() -> None:
    pool, again = (draw_pool(400, seed=3, stock_sizes=SMALL_STOCK) for _ in range(2))
    assert (pool.pictures == again.pictures).all()
    counts = np.bincount(pool.captions, minlength=len(CAPTIONS))
    for caption, count in zip(CAPTIONS, counts, strict=True):
        expected = 1 if caption.kind == "global" else round(400 * (0.18 / 12 if caption.kind == "local" else 0.04))
        assert count == pytest.approx(expected, abs=10)
