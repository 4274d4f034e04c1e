"""The evaluation protocols against a literal transcription of the paper's, written with torch."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from memscan.scanner.evaluation.overlap import overlap
from memscan.scanner.evaluation.protocol import THRESHOLDS, extremes, fixed_counts, oracle_counts, paper_unit
from memscan.scanner.evaluation.resize import bilinear, nearest

Maps = NDArray[np.float64]
Masks = NDArray[np.bool_]


def transcription(maps: Maps, masks: Masks) -> tuple[float, float, float]:
    """The paper's evaluation of N maps [h, w] (in its unit) against N masks [H, W], as its text says it."""
    resized = torch.nn.functional.interpolate(
        torch.tensor(maps)[:, None], size=(256, 256), mode="bilinear", align_corners=False
    )[:, 0]
    truth = torch.nn.functional.interpolate(torch.tensor(masks)[:, None].double(), size=(256, 256), mode="nearest")
    truth = truth[:, 0] > 0.5
    values = torch.log1p(resized)
    values = (values - values.min()) / (values.max() - values.min())
    best_iou = best_miou = best_accuracy = 0.0
    for threshold in torch.linspace(0, 1, 101, dtype=torch.float64):
        predicted = values >= threshold
        both = (predicted & truth).sum((1, 2)).double()
        union = (predicted | truth).sum((1, 2)).double()
        per_image = torch.where(union > 0, both / union.clamp(min=1), torch.ones_like(both))
        best_iou = max(best_iou, (both.sum() / union.sum()).item() if union.sum() > 0 else 1.0)
        best_miou = max(best_miou, per_image.mean().item())
        best_accuracy = max(best_accuracy, (predicted == truth).double().mean().item())
    return best_iou, best_miou, best_accuracy


def ours(maps: Maps, masks: Masks) -> tuple[float, float, float]:
    bounds = extremes(maps)
    result = overlap(oracle_counts(maps, list(masks), bounds[:, 0].min(), bounds[:, 1].max()), np.arange(len(maps)))
    return result.iou, result.miou, result.accuracy


def random_case(height: int, width: int, generator: np.random.Generator) -> tuple[Maps, Masks]:
    """Six noisy maps that resemble their masks; two masks are empty and one is full."""
    masks = np.zeros((6, 64, 64), dtype=bool)
    masks[2, 10:40, 20:60] = masks[3, 32:, :] = masks[4] = True
    masks[5] = generator.random((64, 64)) < 0.3
    coarse = masks[:, :: 64 // height, :: 64 // width].astype(np.float64)
    return np.maximum(300 * coarse + generator.normal(0, 120, coarse.shape), 0), masks


@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 64), (16, 32)], ids=["16x16", "64x64", "16x32"])
def test_oracle_equals_the_literal_transcription(height: int, width: int) -> None:
    """Fails if a resize, the normalisation, the grid or a best-of-101 differs; the counts are integers, hence 1e-12.

    (One pixel on the other side of a threshold would change a figure by 2.5e-6 or more.)
    """
    for seed in range(2):
        maps, masks = random_case(height, width, np.random.default_rng(seed))
        assert ours(maps, masks) == pytest.approx(transcription(maps, masks), abs=1e-12)


def test_resizing_equals_torch() -> None:
    generator = np.random.default_rng(0)
    for shape in ((16, 16), (64, 64), (96, 96), (300, 500)):
        image = generator.normal(size=shape)
        expected = torch.nn.functional.interpolate(torch.tensor(image)[None, None], size=(256, 256), mode="bilinear")
        # float64 lerps in another order of operations
        np.testing.assert_allclose(bilinear(image, 256), expected[0, 0].numpy(), rtol=0, atol=1e-13)
        mask = image > 0
        expected = torch.nn.functional.interpolate(
            torch.tensor(mask)[None, None].double(), size=(256, 256), mode="nearest-exact"
        )
        assert (nearest(mask, 256) == (expected[0, 0].numpy() > 0.5)).all()


def test_perfect_maps_score_one() -> None:
    """Only where the truth is a union of whole enlarged pixels can a bilinear map be perfect: here full and empty."""
    masks = np.stack([np.ones((16, 16), dtype=bool), np.zeros((16, 16), dtype=bool)])
    assert ours(masks * 5.0, masks) == (1.0, 1.0, 1.0)


def test_maps_without_contrast_predict_everything_at_threshold_zero_and_nothing_above() -> None:
    """Closed form: all ones has IoU = covered share; nothing has accuracy = uncovered share."""
    masks = np.zeros((2, 64, 64), dtype=bool)
    masks[0, :16], masks[1, :8] = True, True  # covered shares 1/4 and 1/8
    iou, miou, accuracy = ours(np.full((2, 16, 16), 3.0), masks)
    assert iou == pytest.approx(3 / 16, abs=1e-15)
    assert miou == pytest.approx(3 / 16, abs=1e-15)
    assert accuracy == pytest.approx(13 / 16, abs=1e-15)


def test_counts_at_values_exactly_on_thresholds() -> None:
    """`>=`: a pixel whose normalised value is the k-th threshold itself is predicted at thresholds 0..k."""
    values = np.expm1(THRESHOLDS)  # log1p and a range of 0 to 1 give the thresholds back, up to rounding
    for value, threshold in zip(values[::7], THRESHOLDS[::7], strict=True):
        counts = oracle_counts([np.full((4, 4), value)], [np.ones((256, 256), dtype=bool)], 0.0, 1.0)
        expected = np.log1p(np.full((), value)) >= THRESHOLDS
        assert (counts.predicted[0] == expected * 65536).all(), threshold


def test_fixed_scores_the_mask_itself() -> None:
    """A latent mask that covers half of a quarter-covered image: IoU 1/2 in closed form, accuracy 3/4."""
    truth = np.zeros((256, 256), dtype=bool)
    truth[:64] = True
    predicted = np.zeros((16, 16), dtype=bool)
    predicted[:8] = True
    result = overlap(fixed_counts([predicted], [truth]), np.zeros(1, dtype=np.intp))
    assert (result.iou, result.miou, result.accuracy, result.iou_interval) == (0.5, 0.5, 0.75, None)


def test_empty_union_is_a_perfect_answer() -> None:
    nothing = np.zeros((256, 256), dtype=bool)
    result = overlap(fixed_counts([np.zeros((16, 16), dtype=bool)] * 2, [nothing] * 2), np.arange(2))
    assert (result.iou, result.miou, result.accuracy, result.iou_interval) == (1.0, 1.0, 1.0, None)


def test_interval_resamples_captions_not_images() -> None:
    """Two captions, one always hit, one always missed: seeds add nothing, and replicates are 0, 1/2 or 1."""
    truth = np.ones((256, 256), dtype=bool)
    hits = [np.full((16, 16), index < 50) for index in range(100)]
    captions = np.repeat([0, 1], 50)
    result = overlap(fixed_counts(hits, [truth] * 100), captions)
    assert result.iou == 0.5
    assert result.iou_interval == (0.0, 1.0)
    alone = overlap(fixed_counts(hits, [truth] * 100), np.arange(100))
    assert alone.iou_interval is not None
    # 100 independent images: the binomial interval 0.5 +- 1.96 * 0.05, percentiles of 2000 replicates
    assert alone.iou_interval == pytest.approx((0.4, 0.6), abs=0.02)


def test_interval_of_captions_with_uneven_numbers_of_seeds_is_that_of_their_closed_form() -> None:
    """One caption is hit in all of its 20 seeds, seven are missed in their only one.

    Drawn k times among 8, the first makes the IoU 20 k / (20 k + 8 - k), with k ~ Binomial(8, 1/8): P(k <= 0) = .34,
    P(k <= 2) = .93 and P(k <= 3) = .99, so the interval is that of k = 0 and k = 3. Images drawn one by one would stay
    above .5, captions that weigh the same end at 3/8.
    """
    captions = np.repeat(np.arange(8), [20, 1, 1, 1, 1, 1, 1, 1])
    hits = [np.full((16, 16), caption == 0) for caption in captions]
    result = overlap(fixed_counts(hits, [np.ones((256, 256), dtype=bool)] * 27), captions)
    assert result.iou == pytest.approx(20 / 27, abs=1e-12)
    assert result.iou_interval == pytest.approx((0.0, 60 / 65), abs=1e-12)


def test_paper_unit_is_channel_sum_over_variance_and_curvatures_lose_their_negative_part() -> None:
    mean = np.array([[-0.5, 0.25]], dtype=np.float16)
    assert paper_unit("dh_uncond", mean, 4, 0.5).tolist() == [[0.0, 4.0]]
    assert paper_unit("h_cond", mean, 4, 0.5).tolist() == [[0.0, 4.0]]
    assert paper_unit("ds_base", np.abs(mean), 4, 0.5).tolist() == [[8.0, 4.0]]
