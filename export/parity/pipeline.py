"""A checkpoint's own pipeline in diffusers, made of parts that are loaded already, with DDIM in place of its scheduler,
or Euler's method where it is flow matching's or EDM's.

What memscan made of the configurations does not go into it: tokenizing, guidance, sizes, noise levels and the scaling
of latents are what the pipeline itself reads there.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
)

from memscan.export.checkpoint.checkpoint import Checkpoint
from memscan.export.checkpoint.checks import read_index
from memscan.export.checkpoint.configuration.scheduler import EDM_CLASSES, FLOW_CLASS, TRAINING
from memscan.export.checkpoint.few_steps import CONSISTENCY
from memscan.export.checkpoint.files import read_json
from memscan.export.checkpoint.schedule import read_scheduler, scheduler_file

_OPTIONS = {"requires_safety_checker": False, "add_watermarker": False}
"""What changes a picture after it was made is left out."""
_NOT_ASKED = ("depth_estimator", "feature_extractor")
"""What a pipeline must have and does not use: depth is given."""


def own_pipeline(
    checkpoint: Checkpoint, parts: Mapping[str, Any], *, scheduler: Checkpoint | None = None
) -> DiffusionPipeline:
    """The plain pipeline of the checkpoint's family.

    Args:
        parts: the denoiser, text encoders and VAE by the names of their folders, as `Checkpoint.load` gives them.
        scheduler: the checkpoint whose scheduler it has, if not its own.
    """
    pipeline_class = getattr(diffusers, checkpoint.family.pipelines[0])
    taken = [name for name in inspect.signature(pipeline_class.__init__).parameters if name != "self"]
    index = read_index(checkpoint.path)
    said = {name: value for name, value in index.items() if isinstance(value, bool)} | _OPTIONS
    given = {
        **dict.fromkeys(_NOT_ASKED),
        **dict.fromkeys((*pipeline_class._optional_components, *checkpoint.family.lacking)),
        **said,
        **parts,
        **{folder: checkpoint.tokenizer(folder) for folder in checkpoint.family.tokenizers},
        "scheduler": _scheduler(scheduler or checkpoint),
        "requires_aesthetics_score": checkpoint.family.scored,
    }
    pipeline: DiffusionPipeline = pipeline_class(**{name: given[name] for name in taken if name in given})
    pipeline.set_progress_bar_config(disable=True)
    encoder = given[checkpoint.text_encoders[0]]
    if checkpoint.clip_skip and not hasattr(encoder, "text_model"):
        # Where diffusers looks for the last norm; transformers has taken this level of names away.
        object.__setattr__(encoder, "text_model", encoder)
    return pipeline


def _scheduler(checkpoint: Checkpoint) -> SchedulerMixin:
    """DDIM over the noise of the checkpoint's scheduler, with the spacing that DDIM takes from its configuration;
    Euler of flow matching and of EDM."""
    index = read_index(checkpoint.path)
    config = read_scheduler(checkpoint.path, index)
    if config["_class_name"] == FLOW_CLASS:
        return FlowMatchEulerDiscreteScheduler.from_config(read_json(scheduler_file(checkpoint.path)))
    if config["_class_name"] in EDM_CLASSES:
        return EDMEulerScheduler.from_config(config)
    entry = index.get("scheduler") or (None, config["_class_name"])
    try:
        own = getattr(diffusers, entry[1]).from_config(read_json(scheduler_file(checkpoint.path))).config
    except ImportError:  # some schedulers exist only where scipy does; what they leave out is checked by tests
        own = config
    # diffusers takes what a file leaves out from the class that it builds, and so would read another noise.
    noise = {name: own[name] for name in TRAINING if name in own}
    spacing = {"timestep_spacing": "trailing"} if config["_class_name"] in CONSISTENCY else {}
    return DDIMScheduler.from_config(own, **noise, **spacing, clip_sample=False)
