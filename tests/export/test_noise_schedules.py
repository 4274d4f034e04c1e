"""Models of other noise than Stable Diffusion's, exported whole: graphs against torch, the image against diffusers."""

import json
from pathlib import Path

import numpy as np
import pytest

from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.scanner.bundle import open_bundle
from memscan.scanner.schedules import DdpmSchedule, EdmSchedule
from tests.export.checkpoint.spoil import edit
from tests.export.whole import export_whole, scan
from tests.tiny_pipeline import save_pipeline

SCHEDULER = "scheduler/scheduler_config.json"
PLAYGROUND = {
    "_class_name": "EDMDPMSolverMultistepScheduler",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sigma_data": 0.5,
    "sigma_max": 80.0,
    "sigma_min": 0.002,
}
STATISTICS = {"latents_mean": [-1.6, 1.1, 3.3, -0.6], "latents_std": [8.4, 5.9, 6.6, 5.2]}


def manifest(folder: Path) -> Path:
    (folder / "prompts.csv").write_text("prompt,seed\na photo of a red cat,1\nthe blue house,2\n")
    return folder / "prompts.csv"


def rescheduled(folder: Path, config: dict[str, object], *, family: str) -> Path:
    """A tiny pipeline with another scheduler."""
    pipeline = save_pipeline(folder, family=family)
    (pipeline / SCHEDULER).write_text(json.dumps(config))
    edit(pipeline / "model_index.json", scheduler=["diffusers", config["_class_name"]])
    return pipeline


def test_zero_terminal_snr_is_drawn_as_by_diffusers_and_scanned(tmp_path: Path) -> None:
    """Trailing steps, the first of them from alpha = 0."""
    pipeline = save_pipeline(tmp_path / "pipeline", family="sd2", prediction_type="v_prediction")
    edit(pipeline / SCHEDULER, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    export_whole(find_checkpoint(str(pipeline)), tmp_path / "bundle")
    schedule = open_bundle(tmp_path / "bundle").schedule
    assert isinstance(schedule, DdpmSchedule)
    assert schedule.alphas_cumprod[-1] == 0
    for sampler in ("ddim", "dpmsolver++", "euler"):
        rows = scan(tmp_path / "bundle", manifest(tmp_path), tmp_path / sampler, "--sampler", sampler, "--step", "3")
        assert np.isfinite(rows["dh_uncond_mean"].to_numpy()).all()


def test_edm_and_statistics_of_the_vae_are_diffusers_own(tmp_path: Path) -> None:
    """A model like Playground 2.5: EDM's preconditioning in the graphs, means and deviations around the VAE."""
    pipeline = rescheduled(tmp_path / "pipeline", PLAYGROUND, family="sdxl")
    edit(pipeline / "vae/config.json", **STATISTICS)
    export_whole(find_checkpoint(str(pipeline)), tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.schedule == EdmSchedule(1000, 0.002, 80.0, "karras", 7.0)
    assert (bundle.prediction_type, bundle.defaults.sampler) == ("v_prediction", "euler")
    rows = scan(tmp_path / "bundle", manifest(tmp_path), tmp_path / "out", "--timestep", "201")
    ramp = 1 - 201 / 999
    ratio = (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(rows["sigma"].to_numpy(), ratio / (1 + ratio**2) ** 0.5, rtol=1e-6)


@pytest.mark.slow
def test_edm_with_v_is_diffusers_own(tmp_path: Path) -> None:
    """A model like CosXL."""
    config = PLAYGROUND | {
        "_class_name": "EDMEulerScheduler",
        "prediction_type": "v_prediction",
        "sigma_data": 1.0,
        "sigma_max": 120.0,
        "sigma_schedule": "exponential",
    }
    pipeline = rescheduled(tmp_path / "pipeline", config, family="sdxl")
    export_whole(find_checkpoint(str(pipeline)), tmp_path / "bundle")


def test_a_model_of_few_steps_has_few_steps_and_no_guidance_by_default(tmp_path: Path) -> None:
    """A model like SDXL-Turbo, whose scheduler draws noise at every step."""
    pipeline = save_pipeline(tmp_path / "pipeline", family="sdxl")
    edit(pipeline / SCHEDULER, _class_name="EulerAncestralDiscreteScheduler", timestep_spacing="trailing")
    edit(pipeline / "model_index.json", scheduler=["diffusers", "EulerAncestralDiscreteScheduler"])
    said = export_whole(find_checkpoint(str(pipeline)), tmp_path / "bundle")
    (line,) = [line for line in said if "distilled" in line]
    assert line.startswith("pipeline: scheduler: EulerAncestralDiscreteScheduler, taken for that of a model distilled")
    defaults = open_bundle(tmp_path / "bundle").defaults
    assert (defaults.sampler, defaults.num_inference_steps, defaults.guidance_scale) == ("euler", 4, 1.0)
    assert defaults.timesteps == (249,)
    rows = scan(tmp_path / "bundle", manifest(tmp_path), tmp_path / "out")
    assert set(rows["timestep"].to_pylist()) == {249}
    assert np.isfinite(rows["dh_uncond_mean"].to_numpy()).all()
