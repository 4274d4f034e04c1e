"""Models that were distilled to a few steps (LCM, TCD, Turbo, Lightning), as their scheduler tells them.

They are trained with the base model's noise, so that their schedule is its table; what differs is how they are sampled:
in few steps from the noisiest level on, and not guided. LCM's scheduler and TCD's begin there whatever their spacing is
called. Theirs, and Euler's ancestral one, draw noise at every step; memscan's Euler does not.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from memscan.scanner.bundle_parts import Defaults

CONSISTENCY = ("LCMScheduler", "TCDScheduler")
_EULER = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")

FEW_STEPS = 4


def is_distilled(config: Mapping[str, Any]) -> bool:
    """Whether a scheduler's configuration is such a model's: LCM's or TCD's, or Euler's from the noisiest level on, of
    a model that predicts eps and so was not trained for zero terminal SNR."""
    if config["_class_name"] in CONSISTENCY:
        return True
    trailing = config.get("timestep_spacing") == "trailing"
    return config["_class_name"] in _EULER and trailing and config["prediction_type"] == "epsilon"


def few_step_defaults(defaults: Defaults, *, told: bool) -> Defaults:
    """The defaults for such a model: 4 steps of Euler, and no guidance.

    Args:
        told: whether the denoiser is told the scale of guidance, which then stays.
    """
    scale = defaults.guidance_scale if told else 1.0
    return dataclasses.replace(defaults, sampler="euler", num_inference_steps=FEW_STEPS, guidance_scale=scale)


def few_step_remark(config: Mapping[str, Any]) -> str:
    """What is to be said where a scheduler's configuration is such a model's, or ""."""
    if not is_distilled(config):
        return ""
    return (
        f"scheduler: {config['_class_name']}, taken for that of a model distilled to few steps: the default is"
        f" {FEW_STEPS} steps of euler, which draws no noise on its way, without guidance; --num-inference-steps and"
        " --guidance of a scan change it"
    )
