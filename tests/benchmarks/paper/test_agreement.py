"""IoU and AUC of maps whose answer is known: the truth itself, no information, and the opposite."""

import numpy as np
import pytest

from benchmarks.paper.agreement import agreement, local_overlap, with_interval
from testbed.captions import of_kind
from testbed.dataset import masks

LOCAL = list(of_kind("local")[:3])
IMAGES = [*LOCAL, *of_kind("global")[:2], *of_kind("none")[:3]]


def test_the_truth_agrees_with_itself() -> None:
    truths = np.stack([masks(caption).memorized for caption in IMAGES]).astype(np.float64)
    found = agreement(truths, IMAGES)
    # At 64 x 64 the truth is enlarged bilinearly and the mask by nearest neighbour: edges differ by a pixel of 256.
    assert found.local.iou > 0.97
    assert found.found.auc == 1.0


def test_a_map_without_information_is_a_mask_of_ones() -> None:
    ones = float(np.mean([masks(caption).memorized for caption in LOCAL]))
    found = agreement(np.full((len(IMAGES), 16, 16), 0.5), IMAGES)
    assert found.local.iou == pytest.approx(ones, abs=1e-12)
    assert found.found.auc == 0.5


def test_the_opposite_is_detected_as_such() -> None:
    truths = np.stack([~masks(caption).memorized for caption in IMAGES]).astype(np.float64)
    assert agreement(truths, IMAGES).found.auc == 0.0


def test_other_kinds_do_not_count_for_the_local_iou() -> None:
    maps = np.random.default_rng(0).random((len(IMAGES), 16, 16))
    spoiled = maps.copy()
    spoiled[len(LOCAL) :] *= 100
    assert local_overlap(spoiled, IMAGES).iou == local_overlap(maps, IMAGES).iou


def test_what_cannot_be_scored_is_refused() -> None:
    none = list(of_kind("none")[:2])
    with pytest.raises(ValueError, match="kind local"):
        local_overlap(np.zeros((2, 16, 16)), none)
    with pytest.raises(ValueError, match="memorized and other"):
        agreement(np.zeros((3, 16, 16)), LOCAL)


def test_intervals_are_written_as_eval_writes_them() -> None:
    assert with_interval(0.9124, (0.88, 0.94)) == "0.912 [0.880, 0.940]"
    assert with_interval(0.5, None) == "0.500"
