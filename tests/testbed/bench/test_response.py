"""Dose and response on closed cases: means over captions, separation, and agreement of masks by count."""

import dataclasses

import numpy as np
import pytest

from testbed.bench.grades import COUNTS
from testbed.bench.measured import Measured, pooled
from testbed.bench.response import agreement, dose, mean_by_caption, response, telling

SEEDS = 2


def bench(scale: float = 1.0) -> Measured:
    """A local caption at every count, copied from 512 on, and 101 rare ones; the score is the count."""
    counts = np.repeat([*COUNTS, *[1] * 101], SEEDS)
    captions = np.repeat(np.arange(len(counts) // SEEDS), SEEDS)
    kinds = np.where(captions < len(COUNTS), "local", "rare")
    strength = np.where((kinds == "local") & (counts >= 512), 1.0, 0.0)
    local = np.flatnonzero(kinds == "local")
    truth = np.zeros((len(local), 2, 2))
    truth[:, 0] = 1
    maps = np.where(counts[local, None, None] >= 512, truth, 1.0).astype(np.float16)
    return Measured(
        captions=captions,
        trainings=np.zeros_like(captions),
        kinds=kinds,
        counts=counts,
        splits=np.where(captions % 3, "heldout", "calibration"),
        strength=strength,
        copies=strength,
        scores={"x": counts * scale},
        local=local,
        maps={"m": maps},
        truth={"m": truth},
    )


def test_every_caption_has_the_same_weight_whatever_its_seeds() -> None:
    value, low, high = mean_by_caption(np.array([0.0, 0.0, 0.0, 1.0]), np.array([5, 5, 5, 8]))
    assert (value, low, high) == (0.5, 0.0, 1.0)
    assert mean_by_caption(np.array([2.0, 4.0]), np.array([1, 1])) == (3.0, None, None)


def test_dose_is_the_mean_score_of_each_kind_and_count() -> None:
    found = {(figure.kind, figure.group): figure for figure in dose(bench(), 201)}
    assert [found["local", str(count)].value for count in COUNTS] == list(COUNTS)
    assert (found["rare", "1"].value, found["rare", "1"].captions) == (1.0, 101)


def test_response_goes_by_measured_strength() -> None:
    found = {figure.group: figure for figure in response(bench(), 201)}
    assert set(found) == {"never", "always"}
    assert found["always"].value == (512 + 1024) / 2
    assert found["never"].value == pytest.approx(np.mean(COUNTS[:-2]))


def test_what_is_copied_is_told_from_what_never_is() -> None:
    found = {(figure.what, figure.kind): figure for figure in telling(bench(), 201)}
    assert found["auc", "all"].value == found["tpr", "all"].value == 1.0
    assert found["auc", "local"].captions == 2
    assert ("auc", "global") not in found
    reversed_ = {(figure.what, figure.kind): figure for figure in telling(bench(-1.0), 201)}
    assert reversed_["auc", "all"].value == reversed_["tpr", "all"].value == 0.0


def test_prompts_that_copy_anything_at_all_are_no_negatives() -> None:
    images = bench()
    copying = dataclasses.replace(images, copies=np.where(images.captions == len(COUNTS), 0.1, images.copies))
    assert images.negative.sum() - copying.negative.sum() == SEEDS


def test_agreement_is_by_count_beside_a_mask_of_ones() -> None:
    found = {(figure.detector, figure.group): figure.value for figure in agreement(bench(), 201)}
    assert found["ones", "1"] == found["m", "1"] == 0.5
    assert found["m", "512"] == found["m", "1024"] == 1.0


def test_trainings_are_pooled_with_captions_apart() -> None:
    one, both = bench(), pooled([bench(), bench(3.0)])
    assert len(np.unique(both.captions)) == 2 * len(np.unique(one.captions))
    assert (both.kinds[both.local] == "local").all()
    assert both.counts[both.local].tolist() == one.counts[one.local].tolist() * 2
    assert both.scores["x"].tolist() == [*one.scores["x"], *one.scores["x"] * 3]
    assert {figure.captions for figure in agreement(both, 201)} == {2}
