"""A whole scan against its closed form: the analytic bundle, torch's noise, diffusers' DDIM written out in float64."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from numpy.typing import NDArray

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import UsageError
from memscan.scanner.model.graphs import Graphs
from memscan.scanner.runtimes.runtime import Value
from memscan.scanner.samples import Rejected, Sample
from memscan.scanner.sampling.ddim import ddim_timesteps
from memscan.scanner.sampling.schedule import SolverStep
from memscan.scanner.settings import Probes, Sampler
from tests.analytic_bundle import IMAGE, write_analytic_bundle
from tests.analytic_model import analytic_model
from tests.default_maps import MAPS
from tests.scanner.scanning.closed_form import (
    FLOAT32,
    SAMPLES,
    SETTINGS,
    assert_maps_equal,
    at_steps,
    expected_maps,
    level,
    run,
    sampled_states,
    scanned,
    torch_noise,
)


@pytest.fixture(scope="module", params=[False, True], ids=["shared text encoder", "baseline text encoder"])
def bundle(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Bundle:
    path = tmp_path_factory.mktemp("bundles") / "analytic"
    return write_analytic_bundle(path, baseline_text_encoder=request.param)


@pytest.fixture(scope="module")
def plain_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_analytic_bundle(tmp_path_factory.mktemp("bundles") / "plain", baseline=False)


def betas(bundle: Bundle) -> NDArray[np.float64]:
    levels = np.array([1.0, *bundle.schedule.alphas_cumprod])
    return 1 - levels[1:] / levels[:-1]


def test_scan_equals_closed_form(bundle: Bundle) -> None:
    timesteps = ddim_timesteps(bundle.schedule, SETTINGS.num_inference_steps)
    for sample, result in zip(SAMPLES, run(bundle, SAMPLES), strict=True):
        # Tokenizer and closed form both keep the first six words.
        assert scanned(result).truncated == (len(sample.prompt.split()) > 6)
        states = sampled_states(bundle, sample, SETTINGS.guidance_scale)
        expected = [expected_maps(bundle, states[i], sample.prompt, timesteps[i]) for i in (0, 7, 9)]
        assert scanned(result).sample is sample
        assert_maps_equal(scanned(result), expected)


@pytest.mark.parametrize("guidance", [1.0, 0.5, 0.0, -3.0])
def test_guidance_of_one_and_less_is_the_prompt_alone_as_in_diffusers(guidance: float, bundle: Bundle) -> None:
    timesteps = ddim_timesteps(bundle.schedule, SETTINGS.num_inference_steps)
    settings = dataclasses.replace(SETTINGS, guidance_scale=guidance)
    for sample, result in zip(SAMPLES, run(bundle, SAMPLES, settings), strict=True):
        states = sampled_states(bundle, sample, 1.0)
        assert_maps_equal(
            scanned(result), [expected_maps(bundle, states[i], sample.prompt, timesteps[i]) for i in (0, 7, 9)]
        )


def test_scan_by_dpm_solver_equals_diffusers_scheduler(plain_bundle: Bundle) -> None:
    settings = dataclasses.replace(
        SETTINGS, sampler="dpmsolver++", num_inference_steps=6, steps=at_steps(2, 4), moved=((4, 261),)
    )
    timesteps = [853, 711, 569, 427, 261, 143]  # of 853, 711, 569, 427, 285, 143
    scheduler = DPMSolverMultistepScheduler(trained_betas=betas(plain_bundle), timestep_spacing="leading")
    model = analytic_model()
    for sample, result in zip(SAMPLES, run(plain_bundle, SAMPLES, settings), strict=True):
        scheduler.set_timesteps(timesteps=timesteps)
        x, states = torch_noise(sample.seed), []
        for timestep in timesteps:
            states.append(x)
            alpha, sigma = level(plain_bundle, timestep)
            eps_c, eps_0 = model.eps(x, sample.prompt, alpha, sigma), model.eps(x, "", alpha, sigma)
            eps = torch.from_numpy(eps_0 + settings.guidance_scale * (eps_c - eps_0))
            x = scheduler.step(eps, timestep, torch.from_numpy(x)).prev_sample.double().numpy()
        for position, index in enumerate((2, 4)):
            expected = expected_maps(plain_bundle, states[index], sample.prompt, timesteps[index])
            for name, values in scanned(result).steps[position].maps.items():
                np.testing.assert_allclose(values, expected[name], rtol=FLOAT32, atol=FLOAT32, err_msg=name)


def test_result_does_not_depend_on_the_batch(bundle: Bundle) -> None:
    reference = {scanned(result).sample.row: scanned(result) for result in run(bundle, SAMPLES, batch_size=1)}
    shuffled = [SAMPLES[i] for i in (5, 2, 7, 0, 3, 6, 1, 4)]
    for samples, batch_size in [(SAMPLES, 3), (SAMPLES, 8), (SAMPLES, 100), (shuffled, 3), (shuffled[:2], 8)]:
        results = run(bundle, samples, batch_size=batch_size)
        assert [scanned(result).sample for result in results] == samples
        for result in results:
            for step, alone in zip(scanned(result).steps, reference[scanned(result).sample.row].steps, strict=True):
                for name in MAPS:
                    np.testing.assert_allclose(step.maps[name], alone.maps[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "probes",
    [Probes("hadamard", 4), Probes("hadamard", 16), Probes("rademacher", 1), Probes("rademacher", 6, seed=5)],
    ids=["hadamard 4", "hadamard 16", "rademacher 1", "rademacher 6: groups padded"],
)
def test_any_probes_are_exact_for_a_diagonal_jacobian(plain_bundle: Bundle, probes: Probes) -> None:
    settings = dataclasses.replace(SETTINGS, probes=probes)
    alpha, sigma = level(plain_bundle, 201)
    (result,) = run(plain_bundle, SAMPLES[:1], settings)
    expected = analytic_model().collapse("memorized", alpha, sigma).mean(axis=0)
    np.testing.assert_allclose(scanned(result).steps[1].maps["h_cond"], expected, rtol=FLOAT32)


def test_without_a_baseline_its_maps_are_absent(plain_bundle: Bundle) -> None:
    (result,) = run(plain_bundle, SAMPLES[:1])
    assert [tuple(step.maps) for step in scanned(result).steps] == [("dh_uncond", "ds_uncond", "h_cond")] * 3


def test_cuda_stream_gives_other_latents(plain_bundle: Bundle) -> None:
    on_cpu, on_cuda = (
        run(plain_bundle, SAMPLES[:1], dataclasses.replace(SETTINGS, stream=stream)) for stream in ("cpu", "cuda")
    )
    assert not np.allclose(
        scanned(on_cpu[0]).steps[0].maps["ds_uncond"], scanned(on_cuda[0]).steps[0].maps["ds_uncond"]
    )


def test_images_are_the_decoded_end_of_the_trajectory(plain_bundle: Bundle) -> None:
    settings = dataclasses.replace(SETTINGS, steps=at_steps(2), save_images=True)
    for sample, result in zip(SAMPLES, run(plain_bundle, SAMPLES, settings, batch_size=3), strict=True):
        x_0 = sampled_states(plain_bundle, sample, settings.guidance_scale)[-1][:3]
        pixels = np.clip((x_0 / 2 + 0.5) * 255, 0, 255).repeat(4, axis=1).repeat(4, axis=2).transpose(1, 2, 0)
        image = scanned(result).image
        assert image is not None
        assert (image.shape, image.dtype) == ((*IMAGE, 3), np.uint8)
        assert abs(image - pixels).max() < 0.501  # rounding to 8 bits


@pytest.fixture
def stepped(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The timesteps at which the guided step's graph is run from now on."""
    timesteps: list[float] = []
    original = Graphs.step

    def step(self: Graphs, sample: Value, step: SolverStep, *rest: Any) -> Any:
        timesteps.append(step.level.timestep)
        return original(self, sample, step, *rest)

    monkeypatch.setattr(Graphs, "step", step)
    return timesteps


def test_without_images_sampling_stops_at_the_last_measured_step(plain_bundle: Bundle, stepped: list[float]) -> None:
    run(plain_bundle, SAMPLES[:1], dataclasses.replace(SETTINGS, steps=at_steps(2)))
    assert stepped == [901, 801]


@pytest.mark.parametrize(
    ("metrics", "at_measured"),
    [
        (("dh_uncond",), 0),  # eps of prompt and none come with the diagonals
        (("ds_uncond",), 1),  # from a guided step at the measured state, which is not taken a second time
        (("h_cond",), 1),  # eps of none is not measured: the sampler's own step
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_where_eps_is_measured_the_denoiser_is_not_run_again_for_the_step(
    metrics: tuple[str, ...], at_measured: int, plain_bundle: Bundle, stepped: list[float]
) -> None:
    settings = dataclasses.replace(
        SETTINGS, metrics=metrics, steps=at_steps(1, 3), save_images=True, mask_map=metrics[0]
    )
    run(plain_bundle, SAMPLES[:2], settings)
    counts = [stepped.count(timestep) for timestep in range(901, 0, -100)]
    assert counts == [1, at_measured, 1, at_measured, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("sampler", ["ddim", "dpmsolver++"])
def test_a_step_from_what_was_measured_leads_where_the_graphs_step_leads(
    sampler: Sampler, plain_bundle: Bundle, stepped: list[float]
) -> None:
    """With h_cond alone every step is the graph's; with dh_uncond none at a measured state is."""
    steps = at_steps(*range(9))
    settings = dataclasses.replace(SETTINGS, sampler=sampler, steps=steps, save_images=True, mask_map="h_cond")
    scores = ("h_cond", "guidance_norm", "guidance_first", "update_norm")
    by_graph = run(plain_bundle, SAMPLES[:4], dataclasses.replace(settings, metrics=scores))
    assert len(stepped) == 10
    stepped.clear()
    by_host = run(plain_bundle, SAMPLES[:4], dataclasses.replace(settings, metrics=("dh_uncond", *scores)))
    assert len(stepped) == 1  # the last of all, where nothing is measured
    for one, other in zip(by_host, by_graph, strict=True):
        for first, second in zip(scanned(one).steps, scanned(other).steps, strict=True):
            np.testing.assert_allclose(first.maps["h_cond"], second.maps["h_cond"], rtol=FLOAT32)
            assert first.scores.keys() == second.scores.keys()
            for name, value in second.scores.items():
                np.testing.assert_allclose(first.scores[name], value, rtol=FLOAT32, err_msg=name)
        images = scanned(one).image, scanned(other).image
        assert images[0] is not None and images[1] is not None
        assert abs(images[0].astype(int) - images[1]).max() <= 1  # what rounds the other way at half a level


def test_maps_that_are_not_finite_are_an_error_of_their_image_alone(bundle: Bundle) -> None:
    samples = [SAMPLES[0], Sample(30, 0, "a broken poster"), SAMPLES[1]]
    before, broken, after = run(bundle, samples, dataclasses.replace(SETTINGS, save_images=True))
    assert [step.maps for step in scanned(broken).steps] == [{}] * 3
    assert [step.error for step in scanned(broken).steps] == [
        f"not finite at timestep {timestep}: dh_uncond, dh_base, ds_uncond, ds_base, h_cond"
        for timestep in (901, 201, 1)
    ]
    for healthy, alone in zip((before, after), run(bundle, [SAMPLES[0], SAMPLES[1]]), strict=True):
        for step, reference in zip(scanned(healthy).steps, scanned(alone).steps, strict=True):
            np.testing.assert_allclose(step.maps["dh_uncond"], reference.maps["dh_uncond"], atol=1e-6)


def test_a_rejected_sample_does_not_fail_its_batch(plain_bundle: Bundle) -> None:
    carried = {"split": "test"}
    samples = [
        Sample(0, -1, "a rug", id="x", carried=carried),
        SAMPLES[1],
        Sample(2, 0, "a rug", image=b"junk"),
        Sample(3, 0, "half a pair: \ud83d"),
        SAMPLES[2],
    ]
    results = run(plain_bundle, samples)
    assert results[0] == Rejected(
        0, -1, "a rug", "seed -1 is outside [0, 2^64): torch has no such generator", "x", carried
    )
    junk = "image cannot be decoded: no PNG, JPEG, WEBP, BMP, GIF or TIFF, or one of a rare kind"
    assert results[2] == Rejected(2, 0, "a rug", junk, image_given=True)
    assert results[3] == Rejected(3, 0, "half a pair: \ud83d", "the prompt is not valid Unicode text")
    assert [scanned(results[i]).sample for i in (1, 4)] == [SAMPLES[1], SAMPLES[2]]


def test_a_batch_of_rejected_samples_alone_is_no_problem(plain_bundle: Bundle) -> None:
    assert [type(result) for result in run(plain_bundle, [Sample(0, -1, "a rug"), Sample(1, -2, "a rug")])] == [
        Rejected,
        Rejected,
    ]


def test_settings_that_do_not_suit_the_bundle_are_refused_before_any_work(plain_bundle: Bundle) -> None:
    for settings, message in [
        (dataclasses.replace(SETTINGS, probes=Probes("hadamard", 6)), "no Hadamard colouring of 4 channels has 6"),
        (dataclasses.replace(SETTINGS, num_inference_steps=2000), "2000 inference steps: the model has 1 to 1000"),
        (dataclasses.replace(SETTINGS, steps=at_steps(9, 10)), r"steps \[9, 10\]: the sampler's indices are 0 to 9"),
    ]:
        with pytest.raises(UsageError, match=message):
            run(plain_bundle, [], settings)
