"""The defaults of a checkpoint's bundle: what was asked for, as far as the model's own kind does not say otherwise."""

import dataclasses

from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.export.checkpoint.few_steps import few_step_defaults
from memscan.export.checkpoint.takes import takes_of
from memscan.scanner.bundle_parts import Defaults


def usual_defaults(model: Checkpoint, defaults: Defaults) -> Defaults:
    """`defaults` with the guidance that suits the family, and the steps of a model of few."""
    told = takes_of(model).guidance
    if model.family.told_guidance is not None:
        defaults = dataclasses.replace(defaults, guidance_scale=model.family.told_guidance if told else 1.0)
    return few_step_defaults(defaults, told=told) if model.few_steps() else defaults


def is_usually_unguided(model: Checkpoint, defaults: Defaults) -> bool:
    """Whether by a bundle's `defaults` sampling asks the denoiser for the prompt alone."""
    return takes_of(model).sampling_guidance(defaults.guidance_scale) <= 1
