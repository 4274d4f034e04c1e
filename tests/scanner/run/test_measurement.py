"""What a run measures: the bundle's defaults, what the user changes, and when a threshold counts as calibrated."""

import dataclasses
from pathlib import Path

import pytest

from memscan.scanner.bundle import Bundle, open_bundle
from memscan.scanner.errors import UsageError
from memscan.scanner.metrics.catalogue import MAPS as ALL_MAPS
from memscan.scanner.metrics.catalogue import METRICS, SCORES
from memscan.scanner.run.measurement import build_measurement, matching_calibrations, measured_steps
from memscan.scanner.run.request import Request
from memscan.scanner.schedules import FlowSchedule
from memscan.scanner.settings import Measurement, Probes, Reference, fingerprint, fingerprint_parts
from tests.default_maps import MAPS

# The analytic bundle: 10 steps at timesteps 901, 801, ... 1; defaults 201, 101, 1; guidance 2.5; 8 Hadamard probes;
# dh_uncond calibrated at 0.1 there.

OF_THE_FIRST_STATE = {"guidance_first", "anisotropy", "dcs", "sharpness", "hessian_score"}


@pytest.fixture(scope="module")
def bundle(analytic: Path) -> Bundle:
    return open_bundle(analytic)


def indices(measurement: Measurement) -> list[int]:
    return [step.index for step in measurement.steps]


def calibrated(measurement: Measurement) -> list[bool]:
    return [step.calibrated for step in measurement.steps]


def refusal(bundle: Bundle, request: Request) -> str:
    with pytest.raises(UsageError) as caught:
        build_measurement(bundle, request)
    return str(caught.value)


def test_defaults_are_the_bundles_and_calibrated(bundle: Bundle) -> None:
    measurement, notes = build_measurement(bundle, Request())
    assert indices(measurement) == [7, 8, 9]
    assert [step.threshold for step in measurement.steps] == [0.1] * 3
    assert calibrated(measurement) == [True, True, True]
    assert (measurement.num_inference_steps, measurement.guidance_scale) == (10, 2.5)
    assert (measurement.probes, measurement.mask_map) == (Probes("hadamard", 8, 0), "dh_uncond")
    assert notes == ()


def test_steps_and_timesteps_are_joined_and_ascend(bundle: Bundle) -> None:
    measurement, notes = build_measurement(bundle, Request(steps=(9, 0), timesteps=(101, 1)))
    assert indices(measurement) == [0, 8, 9]
    assert calibrated(measurement) == [False, True, True]
    assert notes == (
        "no threshold of dh_uncond is calibrated at timestep 901 for these settings: "
        f"masks there are null, scores are not; `memscan calibrate {bundle.path}` finds thresholds for this model, "
        "--threshold VALUE gives one, and it is marked as uncalibrated",
    )
    assert [step.threshold for step in measurement.steps] == [None, 0.1, 0.1]


@pytest.mark.parametrize(
    "request_",
    [
        Request(guidance_scale=3.0),
        Request(num_probes=4),
        Request(probe_seed=1),
        Request(probe_kind="rademacher"),
        Request(mask_map="dh_base"),
        Request(num_inference_steps=20, timesteps=(101,)),
    ],
    ids=["guidance", "probe count", "probe seed", "probe kind", "map", "steps"],
)
def test_threshold_is_calibrated_at_exactly_its_settings_only(bundle: Bundle, request_: Request) -> None:
    measurement, (note,) = build_measurement(bundle, request_)
    assert not any(calibrated(measurement))
    assert [step.threshold for step in measurement.steps] == [None] * len(measurement.steps)
    assert {step.threshold for step in measured_steps(bundle, measurement)} == {None}
    assert "masks there are null" in note


def test_given_threshold_is_used_everywhere_and_is_the_users_own(bundle: Bundle) -> None:
    measurement, notes = build_measurement(bundle, Request(threshold=0.3))
    assert [step.threshold for step in measurement.steps] == [0.3] * 3
    assert calibrated(measurement) == [False, False, False]
    assert notes == ()


def test_default_timesteps_that_the_sampler_lacks_are_replaced_by_the_nearest(bundle: Bundle) -> None:
    measurement, notes = build_measurement(bundle, Request(num_inference_steps=2))
    assert indices(measurement) == [1]  # of 501 and 1, the latter is nearest to 201, 101 and 1
    assert notes[0] == (
        "with 2 inference steps the model's default timesteps are replaced by the nearest: 201 by 1, 101 by 1"
    )


def test_step_that_does_not_exist_is_said(bundle: Bundle) -> None:
    assert refusal(bundle, Request(steps=(10,))) == "--step 10: 10 inference steps have the indices 0 to 9"
    assert refusal(bundle, Request(steps=(-1,))) == "--step -1: 10 inference steps have the indices 0 to 9"


def test_timestep_that_does_not_exist_lists_its_neighbours(bundle: Bundle) -> None:
    assert refusal(bundle, Request(timesteps=(120,))) == (
        "--timestep 120 is none of the sampler's 10; near it are 301, 201, 101, 1"
    )


def test_another_sampler_has_its_usual_number_of_steps_and_measures_at_the_default_timesteps(bundle: Bundle) -> None:
    measurement, (note,) = build_measurement(bundle, Request(sampler="dpmsolver++"))
    assert (measurement.sampler, measurement.num_inference_steps) == ("dpmsolver++", 20)
    # Of 941, 894, ... 189, 142, 95, 48 the nearest to 201, 101 and 1.
    assert measurement.moved == ((16, 201), (18, 101), (19, 1))
    assert indices(measurement) == [16, 18, 19]
    assert [step.timestep for step in measured_steps(bundle, measurement)] == [201, 101, 1]
    assert not any(calibrated(measurement))
    assert note.startswith("no threshold of dh_uncond is calibrated at timestep 201, 101, 1 for these settings")


def test_a_sampler_of_any_spacing_moves_to_the_timestep_asked_for(bundle: Bundle) -> None:
    request = Request(sampler="dpmsolver++", steps=(0,), timesteps=(142, 201), num_inference_steps=20)
    measurement, _ = build_measurement(bundle, request)
    assert (indices(measurement), measurement.moved) == ([0, 16, 17], ((16, 201),))  # 142 is the sampler's own
    assert [step.timestep for step in measured_steps(bundle, measurement)] == [941, 201, 142]


def test_timesteps_that_no_step_can_move_to_are_said(bundle: Bundle) -> None:
    assert refusal(bundle, Request(sampler="dpmsolver++", timesteps=(201, 190))) == (
        "timesteps 201 and 190 are both nearest to step 16, at 189: choose one of them, or more inference steps"
    )
    assert refusal(bundle, Request(sampler="dpmsolver++", timesteps=(1000,))) == (
        "timestep 1000: the model has 0 to 999"
    )


def test_a_threshold_belongs_to_its_sampler_and_to_a_run_that_moves_no_other_step(bundle: Bundle) -> None:
    own = dataclasses.replace(bundle.calibrations[0], sampler="dpmsolver++", num_inference_steps=20)
    vouching = dataclasses.replace(bundle, calibrations=(own,))
    alone, _ = build_measurement(vouching, Request(sampler="dpmsolver++", timesteps=(201,)))
    beside, _ = build_measurement(vouching, Request(sampler="dpmsolver++", timesteps=(201, 101)))
    other, _ = build_measurement(vouching, Request(num_inference_steps=20, steps=(15,)))
    assert calibrated(alone) == [True]
    assert calibrated(beside) == [False, False]
    assert calibrated(other) == [False]


def test_an_unknown_sampler_is_said(bundle: Bundle) -> None:
    strange = dataclasses.replace(bundle, defaults=dataclasses.replace(bundle.defaults, sampler="heun"))
    expected = "no sampler is called 'heun': expected one of ddim, dpmsolver++, euler"
    assert refusal(strange, Request(num_inference_steps=10)) == expected


def test_map_that_does_not_exist_or_needs_a_baseline_is_said(bundle: Bundle, analytic_without_baseline: Path) -> None:
    assert refusal(bundle, Request(mask_map="dh")) == (f"--mask-map dh: expected one of {', '.join(ALL_MAPS)}")
    assert refusal(open_bundle(analytic_without_baseline), Request(mask_map="ds_base")) == (
        f"--mask-map ds_base needs a less-trained baseline, which {analytic_without_baseline} does not have"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_guidance_must_be_finite(bundle: Bundle, value: float) -> None:
    assert refusal(bundle, Request(guidance_scale=value)) == f"--guidance {value}: expected a finite number"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.001, 2.001, 50.0])
def test_a_threshold_outside_the_collapse_unit_is_refused(bundle: Bundle, value: float) -> None:
    assert refusal(bundle, Request(threshold=value)) == (
        f"--threshold {value}: expected -1 to 2, in the collapse unit, where 1 is a full collapse"
    )


@pytest.mark.parametrize("value", [-1.0, 0.0, 2.0])
def test_the_ends_of_its_range_are_thresholds(bundle: Bundle, value: float) -> None:
    measurement, _ = build_measurement(bundle, Request(threshold=value))
    assert {step.threshold for step in measurement.steps} == {value}


def test_probes_that_do_not_suit_are_refused_before_the_scan(bundle: Bundle) -> None:
    assert "5 probes" in refusal(bundle, Request(num_probes=5))


def test_calibrations_of_every_map_at_the_settings_are_found(bundle: Bundle) -> None:
    measurement, _ = build_measurement(bundle, Request(timesteps=(101, 901)))
    assert [(one.map, one.timestep) for one in matching_calibrations(bundle, measurement)] == [("dh_uncond", 101)]


def test_measured_steps_have_the_noise_level_of_their_timestep(bundle: Bundle) -> None:
    measurement, _ = build_measurement(bundle, Request(timesteps=(101,), threshold=0.3))
    (step,) = measured_steps(bundle, measurement)
    assert (step.index, step.timestep, step.threshold, step.calibrated) == (8, 101, 0.3, False)
    assert step.sigma == pytest.approx((1 - bundle.schedule.alphas_cumprod[101]) ** 0.5, rel=1e-15)


@pytest.mark.parametrize(("channels", "count"), [(4, 8), (16, 32)])
def test_a_bundle_that_names_no_probes_is_measured_with_those_of_its_channels(
    bundle: Bundle, channels: int, count: int
) -> None:
    nameless = dataclasses.replace(
        bundle,
        latent_shape=(channels, *bundle.latent_shape[1:]),
        defaults=dataclasses.replace(bundle.defaults, probes=None),
    )
    measurement, _ = build_measurement(nameless, Request(probe_seed=3))
    assert measurement.probes == Probes("lattice", count, 3)


def test_metrics_are_the_default_ones_and_the_score_is_a_high_quantile_of_the_masks_map(bundle: Bundle) -> None:
    measurement, _ = build_measurement(bundle, Request())
    assert measurement.metrics == (*MAPS, "guidance_norm", "guidance_first", "update_norm")
    assert (measurement.mask_map, measurement.score_name) == ("dh_uncond", "dh_uncond_q99")
    other, _ = build_measurement(bundle, Request(mask_map="ds_base"))
    assert (other.mask_map, other.score_name) == ("ds_base", "ds_base_q99")


@pytest.mark.parametrize(
    ("request_", "metrics"),
    [
        (Request(metrics=("all",)), tuple(name for name in METRICS if name != "update_z")),
        (
            Request(metrics=("free",)),
            (
                *("ds_uncond", "ds_path", "cosine_uncond", "guidance_norm", "guidance_first"),
                *("update_norm", "update_last", "dsm", "dcs", "one_step_error"),
            ),
        ),
        (Request(metrics=("flipd", "h_cond")), ("dh_uncond", "h_cond", "flipd")),
        (Request(metrics=("h_cond",), mask_map="ds_base", score_name="flipd"), ("ds_base", "h_cond", "flipd")),
    ],
    ids=["all", "free", "names", "those of mask and score"],
)
def test_metrics_that_are_chosen_stand_in_the_order_of_the_catalogue(
    bundle: Bundle, request_: Request, metrics: tuple[str, ...]
) -> None:
    assert build_measurement(bundle, request_)[0].metrics == metrics


def test_metrics_of_a_bundle_without_a_baseline(analytic_without_baseline: Path) -> None:
    bundle = open_bundle(analytic_without_baseline)
    for metrics in ((), ("all",)):
        measurement, _ = build_measurement(bundle, Request(metrics=metrics))
        assert not any(METRICS[name].needs_baseline for name in measurement.metrics)
        assert "h_cond" in measurement.metrics
    for request, option in (
        (Request(metrics=("h_cond", "dh_base")), "--metrics dh_base"),
        (Request(score_name="ds_base_max"), "--score ds_base"),
    ):
        assert refusal(bundle, request) == (
            f"{option} needs a less-trained baseline, which {analytic_without_baseline} does not have"
        )


def test_metric_or_score_that_does_not_exist_is_said(bundle: Bundle) -> None:
    assert refusal(bundle, Request(metrics=("wen",))) == (
        f"--metrics wen: expected all, free, or some of {', '.join(METRICS)}"
    )
    for name in ("dh_uncond", "flipd_mean"):
        assert refusal(bundle, Request(score_name=name)) == (
            f"--score {name}: expected one of {', '.join(SCORES)}, or NAME_mean, NAME_max, NAME_q90, NAME_q99 or "
            f"NAME_share of a map: {', '.join(ALL_MAPS)}"
        )


def test_score_of_the_steps_taken_does_not_exist_before_the_first(bundle: Bundle) -> None:
    assert refusal(bundle, Request(steps=(0, 9), score_name="update_norm")) == (
        "--score update_norm: there is none before step 1, and step 0 is measured"
    )
    assert build_measurement(bundle, Request(steps=(0, 9), score_name="guidance_norm"))


def test_what_is_of_the_first_state_is_not_measured_where_that_is_pure_noise(bundle: Bundle) -> None:
    flow = dataclasses.replace(bundle, schedule=FlowSchedule(num_train_timesteps=1000, shift=3.0, sigma_min=None))
    request = Request(sampler="euler", num_inference_steps=10, steps=(8, 9))
    usual, _ = build_measurement(bundle, dataclasses.replace(request, metrics=("all",)))
    there, _ = build_measurement(flow, dataclasses.replace(request, metrics=("all",)))
    assert {*usual.metrics} - {*there.metrics} == OF_THE_FIRST_STATE
    for group in ((), ("free",)):
        found, _ = build_measurement(flow, dataclasses.replace(request, metrics=group))
        assert not {*found.metrics} & OF_THE_FIRST_STATE
    for name in OF_THE_FIRST_STATE:
        for option, asked in (("--metrics", {"metrics": (name,)}), ("--score", {"score_name": name})):
            assert refusal(flow, dataclasses.replace(request, **asked)) == (
                f"{option} {name} has no value here: it is of the path's first state, which of this model is pure noise"
                " and tells nothing of the prompt"
            )


def test_free_metrics_make_masks_of_a_free_map(bundle: Bundle) -> None:
    assert build_measurement(bundle, Request(metrics=("free",)))[0].mask_map == "ds_path"
    assert build_measurement(bundle, Request(metrics=("free",), mask_map="ds_uncond"))[0].mask_map == "ds_uncond"
    assert build_measurement(bundle, Request(metrics=("free", "h_cond")))[0].mask_map == "dh_uncond"


def test_a_metric_that_needs_a_reference_is_measured_where_there_is_one(bundle: Bundle) -> None:
    reference = Reference("update_z", tuple(range(901, 1, -100)), (1.0,) * 9, (0.5,) * 9)
    measurement, _ = build_measurement(bundle, Request(metrics=("all",)), (reference,))
    assert measurement.metrics == tuple(METRICS)
    assert measurement.references == (reference,)
    assert build_measurement(bundle, Request(), (reference,))[0].references == ()
    other = dataclasses.replace(reference, deviation=(0.25,) * 9)
    assert fingerprint("", measurement) != fingerprint("", dataclasses.replace(measurement, references=(other,)))
    elsewhere = dataclasses.replace(reference, timesteps=tuple(range(900, 0, -100)))
    assert "update_z" not in build_measurement(bundle, Request(metrics=("all",)), (elsewhere,))[0].metrics


def test_smoothing_is_part_of_the_fingerprint_and_of_a_calibration(bundle: Bundle) -> None:
    plain, _ = build_measurement(bundle, Request())
    smooth, notes = build_measurement(bundle, Request(smooth=3))
    assert fingerprint("", plain) != fingerprint("", smooth)
    assert [step.calibrated for step in plain.steps] == [True] * 3
    assert [(step.threshold, step.calibrated) for step in smooth.steps] == [(None, False)] * 3
    assert notes[0].startswith("no threshold of dh_uncond is calibrated at timestep ")
    found = tuple(dataclasses.replace(one, smooth=3) for one in bundle.calibrations)
    measurement, _ = build_measurement(dataclasses.replace(bundle, calibrations=found), Request(smooth=3))
    assert [step.calibrated for step in measurement.steps] == [True] * 3


def test_score_and_metrics_are_part_of_the_fingerprint(bundle: Bundle) -> None:
    requests = [
        Request(),
        Request(score_name="dh_uncond_max"),
        Request(mask_map="h_cond"),
        Request(mask_map="h_cond", score_name="dh_uncond_mean"),
        Request(metrics=("all",)),
    ]
    fingerprints = {fingerprint("0", build_measurement(bundle, request)[0]) for request in requests}
    assert len(fingerprints) == len(requests)
    parts = fingerprint_parts("0", build_measurement(bundle, Request(steps=(9,), score_name="guidance_norm"))[0])
    assert (parts["score_name"], parts["mask_map"]) == ("guidance_norm", "dh_uncond")
    assert (parts["steps.index"], parts["steps.threshold"], parts["steps.calibrated"]) == ([9], [0.1], [True])
