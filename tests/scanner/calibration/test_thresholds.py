"""The threshold search against brute force, and where it could go wrong: ties, and nothing to find."""

import numpy as np
import pytest

from memscan.scanner.calibration.thresholds import best_threshold
from memscan.scanner.evaluation.protocol import fixed_counts
from testbed.cells import cover


def test_best_threshold_agrees_with_every_threshold_tried_by_the_evaluation() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((3, 8, 8)) < 0.4
    maps = rng.normal(size=(3, 4, 4)) + 2 * np.stack([cover(mask, (4, 4)) for mask in masks])
    found = best_threshold(maps, np.stack([cover(mask, (4, 4)) for mask in masks]))

    def iou(threshold: float) -> float:
        counts = fixed_counts(maps >= threshold, list(masks))
        return float(counts.both.sum() / counts.union.sum())

    assert found.iou == pytest.approx(max(iou(value) for value in maps.ravel()), abs=1e-12)
    assert iou(found.threshold) == pytest.approx(found.iou, abs=1e-12)


def test_equal_values_are_never_split() -> None:
    maps = np.array([[[1.0, 1.0], [0.0, 0.0]]])
    truth = np.array([[[1.0, 0.0], [0.0, 0.0]]])
    found = best_threshold(maps, truth)
    assert found.iou == pytest.approx(1 / 2)
    assert 0 < found.threshold <= 1


@pytest.mark.parametrize(
    ("truth", "message"),
    [(np.zeros((1, 2, 2)), "nothing is memorized"), (np.ones((1, 4, 4)), "differ in shape")],
    ids=["nothing-memorized", "shapes"],
)
def test_what_has_no_answer_is_refused(truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        best_threshold(np.zeros((1, 2, 2)), truth)


def test_cover_is_the_share_of_each_cell() -> None:
    mask = np.zeros((4, 4), bool)
    mask[:2, :3] = True
    assert cover(mask, (2, 2)).tolist() == [[1.0, 0.5], [0.0, 0.0]]
