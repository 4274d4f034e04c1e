"""What is chosen is chosen on calibration captions, and what is reported comes from the others alone."""

import numpy as np
from numpy.typing import NDArray

from testbed.bench.combination import RIDGES, best_ridge, combined, fit_logistic, standardized
from testbed.bench.heldout import Judged, Variant, auc, judged
from testbed.bench.measured import Measured, pooled
from testbed.bench.report import best_columns, markdown

SEEDS, POSITIVES, NEGATIVES = 2, 12, 160
IMAGES = SEEDS * (POSITIVES + NEGATIVES)
CAPTIONS = np.repeat(np.arange(POSITIVES + NEGATIVES), SEEDS)
COPIED = CAPTIONS < POSITIVES
CALIBRATION = CAPTIONS % 3 == 0
RNG = np.random.default_rng(5)
TRUTH = np.zeros((SEEDS * POSITIVES, 4, 4))
TRUTH[:, :2] = 1


def images(scores: dict[str, NDArray[np.floating]], maps: dict[str, NDArray[np.floating]]) -> Measured:
    """Local captions that are always copied, and rare ones that never are; every third caption calibrates."""
    return Measured(
        captions=CAPTIONS,
        trainings=np.zeros(IMAGES, dtype=np.intp),
        kinds=np.where(COPIED, "local", "rare"),
        counts=np.ones(IMAGES, dtype=np.int64),
        splits=np.where(CALIBRATION, "calibration", "heldout"),
        strength=COPIED.astype(float),
        copies=COPIED.astype(float),
        scores={name: values.astype(np.float64) for name, values in scores.items()},
        local=np.flatnonzero(COPIED),
        maps={name: values.astype(np.float16) for name, values in maps.items()},
        truth=dict.fromkeys(maps, TRUTH),
    )


def by_figure(found: list[Judged]) -> dict[tuple[str, str], Judged]:
    return {(one.what, one.detector): one for one in found}


EARLY, LATE = Variant("10%", 201), Variant("50%", 201)
KNOWING = np.where(COPIED, 1.0, 0.0)


def test_the_variant_is_chosen_by_calibration_captions_and_judged_by_the_others() -> None:
    wrong_later = np.where(CALIBRATION, KNOWING, 1 - KNOWING)
    right_later = np.where(CALIBRATION, 0.5, KNOWING)
    found = by_figure(list(judged({EARLY: images({"x": wrong_later}, {}), LATE: images({"x": right_later}, {})})))
    chosen = found["auc", "x"]
    assert (chosen.variant, chosen.calibration, chosen.value) == ("t = 201, 10%", 1.0, 0.0)
    assert chosen.captions == POSITIVES * 2 // 3
    assert found["tpr", "x"].value == 0.0


def test_a_threshold_is_the_calibrations() -> None:
    scale = np.where(CALIBRATION[COPIED], 1.0, 2.0)[:, None, None]
    low, high = TRUTH * scale, 1 - TRUTH * (1 - 0.1)
    found = by_figure(list(judged({EARLY: images({}, {"m": low}), LATE: images({}, {"m": high})})))["iou", "m"]
    assert (found.variant, found.calibration, found.value) == ("t = 201, 10%", 1.0, 1.0)
    halved = np.where(CALIBRATION[COPIED][:, None, None], TRUTH, TRUTH * 0.4)
    halved[:, 0] = TRUTH[:, 0]
    missed = by_figure(list(judged({EARLY: images({}, {"m": halved})})))["iou", "m"]
    assert (missed.calibration, missed.value) == (1.0, 0.5)
    assert (missed.low, missed.high) == (0.5, 0.5)


def test_images_are_chosen_with_their_maps() -> None:
    every = images({"x": KNOWING}, {"m": np.arange(24)[:, None, None] * np.ones((24, 4, 4))})
    some = every.of(every.captions % 5 == 0)
    assert some.captions.tolist() == [c for c in CAPTIONS if c % 5 == 0]
    assert some.captions[some.local].tolist() == [0, 0, 5, 5, 10, 10]
    assert some.maps["m"][:, 0, 0].tolist() == [0, 1, 10, 11, 20, 21]


def test_each_training_is_judged_alone_too() -> None:
    good, bad = images({"x": KNOWING}, {}), images({"x": np.full(IMAGES, 0.5)}, {})
    found = by_figure(list(judged({EARLY: pooled([good, bad])})))["auc", "x"]
    assert found.trainings == (1.0, 0.5)
    assert 0.5 < found.value < 1.0
    assert found.captions == 2 * POSITIVES * 2 // 3


def test_nothing_to_tell_apart_is_no_figure() -> None:
    calm = images({"x": KNOWING}, {}).of(~COPIED)
    assert auc(calm, calm.scores["x"]) is None
    assert list(judged({EARLY: calm})) == []


def test_logistic_regression_finds_the_weights_of_its_own_model() -> None:
    x = RNG.normal(size=(20_000, 2))
    true = np.array([1.0, -2.0, 0.5])
    y = RNG.random(len(x)) < 1 / (1 + np.exp(-(x @ true[:2] + true[2])))
    np.testing.assert_allclose(fit_logistic(x, y, 1.0), true, atol=0.08)  # four standard errors of 0.02
    gradient = x.T @ (1 / (1 + np.exp(-(x @ (w := fit_logistic(x, y, 1.0))[:2] + w[2]))) - y) / len(x)
    np.testing.assert_allclose(gradient, -2 / len(x) * w[:2], atol=1e-4)  # stationary, with the ridge


def test_the_ridge_is_the_one_that_serves_captions_left_out() -> None:
    captions = np.repeat(np.arange(40), 5)
    label = captions % 2
    noise = RNG.normal(size=(200, 30))[captions * 5]  # the same in all images of a caption: to be learned by heart
    assert best_ridge(noise, label, captions) == max(RIDGES)
    assert best_ridge(label[:, None] * 2.0 - 1, label, captions) == min(RIDGES)


def test_features_are_standardized_by_those_of_the_fit_and_constants_vanish() -> None:
    of = np.array([[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_allclose(standardized(np.array([[4.0, 5.0]]), of), [[2.0, 0.0]])


def test_a_combination_tells_what_no_detector_tells_alone() -> None:
    a = RNG.normal(size=IMAGES) * 3
    noise = RNG.normal(size=(2, len(TRUTH), 4, 4))
    every = images(
        {"a": a, "b": a + KNOWING + RNG.normal(size=IMAGES) * 0.1},
        {"m": noise[0] * 3, "n": noise[0] * 3 + TRUTH + noise[1] * 0.1},
    )
    found = by_figure([*judged({EARLY: every}), *combined({EARLY: every})])
    assert max(found["auc", "a"].value, found["auc", "b"].value) < 0.75
    assert found["auc", "combination"].value > 0.99
    assert found["auc", "combination"].variant == "2 scores"
    assert max(found["iou", "m"].value, found["iou", "n"].value) < 0.65
    assert found["iou", "combination"].value > 0.99


def test_a_combination_that_cannot_be_fitted_is_left_out() -> None:
    calm = images({"a": KNOWING}, {"m": TRUTH})
    assert list(combined({EARLY: calm.of(~COPIED | ~CALIBRATION)})) == []


def judgement(what: str, detector: str, calibration: float, value: float) -> Judged:
    return Judged(what, detector, "t = 21", calibration, 8, value, value - 0.1, value, (value, value - 0.2))


def test_the_table_has_a_row_for_each_metric_by_its_best_column() -> None:
    found = [
        judgement("auc", "dh_uncond_mean", 0.8, 0.99),
        judgement("auc", "dh_uncond_q99", 0.9, 0.7),
        judgement("tpr", "dh_uncond_q99", 0.9, 0.5),
        judgement("auc", "guidance_norm", 0.6, 0.6),
        judgement("iou", "dh_uncond", 0.7, 0.75),
        judgement("auc", "combination", 1.0, 0.9),
    ]
    assert best_columns(found) == {"dh_uncond": "dh_uncond_q99", "guidance_norm": "guidance_norm"}
    rows = [line.strip("| ").split(" | ") for line in markdown(found)][2:]
    assert [row[:2] for row in rows] == [["dh_uncond", "q99"], ["guidance_norm", "-"], ["combination", "-"]]
    assert rows[0][3:5] == ["0.700 [0.600, 0.700] (0.500 to 0.700)", "0.500 [0.400, 0.500] (0.300 to 0.500)"]
    assert rows[0][6] == "0.750 [0.650, 0.750] (0.550 to 0.750)"
    assert len({line.count("|") for line in markdown(found)}) == 1
