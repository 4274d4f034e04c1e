"""Which schedulers are those of models distilled to a few steps, and what a bundle of one recommends."""

import dataclasses
from pathlib import Path

import pytest
from diffusers import LCMScheduler

from memscan.export.assemble import PAPER_DEFAULTS
from memscan.export.checkpoint.checkpoint import find_checkpoint
from memscan.export.checkpoint.few_steps import few_step_defaults, is_distilled
from memscan.scanner.sampling.samplers import sampler_timesteps
from tests.export.checkpoint.spoil import edit


@pytest.mark.parametrize(
    ("cls", "spacing", "prediction_type", "expected"),
    [
        ("LCMScheduler", "leading", "epsilon", True),
        ("TCDScheduler", "leading", "epsilon", True),
        ("EulerDiscreteScheduler", "trailing", "epsilon", True),
        ("EulerAncestralDiscreteScheduler", "trailing", "epsilon", True),
        ("EulerDiscreteScheduler", "leading", "epsilon", False),
        ("EulerDiscreteScheduler", "trailing", "v_prediction", False),
        ("DDIMScheduler", "trailing", "epsilon", False),
    ],
)
def test_they_are_told_by_class_and_spacing(cls: str, spacing: str, prediction_type: str, expected: bool) -> None:
    config = {"_class_name": cls, "timestep_spacing": spacing, "prediction_type": prediction_type}
    assert is_distilled(config) is expected


@pytest.mark.parametrize(("told", "scale"), [(False, 1.0), (True, PAPER_DEFAULTS.guidance_scale)])
def test_they_are_not_guided_unless_they_are_told_a_scale(told: bool, scale: float) -> None:
    found = few_step_defaults(PAPER_DEFAULTS, told=told)
    expected = {"sampler": "euler", "num_inference_steps": 4, "guidance_scale": scale}
    assert found == dataclasses.replace(PAPER_DEFAULTS, **expected)


def test_lcm_begins_where_its_own_scheduler_does(copy: Path) -> None:
    """At the last timestep, though its spacing is called leading."""
    edit(copy / "scheduler/scheduler_config.json", _class_name="LCMScheduler")
    edit(copy / "model_index.json", scheduler=["diffusers", "LCMScheduler"])
    theirs = LCMScheduler()
    theirs.set_timesteps(4)
    ours = sampler_timesteps(find_checkpoint(str(copy)).schedule(), "euler", 4)
    assert ours == (999, 749, 499, 249)
    assert theirs.timesteps.tolist() == [999, 759, 499, 259]  # of fifty timesteps that it was distilled at
