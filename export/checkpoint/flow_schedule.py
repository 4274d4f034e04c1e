"""Flow matching as a checkpoint's scheduler has it (`FlowMatchEulerDiscreteScheduler`), with its shift resolved.

A static shift k takes u to s = k u / (1 + (k - 1) u). Dynamic shifting depends on the number of image tokens n,

    mu = base_shift + (max_shift - base_shift) (n - base_image_seq_len) / (max_image_seq_len - base_image_seq_len)

and is a shift of k = exp(mu), or of mu where `time_shift_type` is linear: for a bundle's one size, a static one.
"""

import math
from pathlib import Path
from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler

from memscan.scanner.errors import ExportError, first_line
from memscan.scanner.schedules import FlowSchedule


def read_flow_schedule(file: Path, config: dict[str, Any], *, tokens: int, pipeline_sigmas: bool) -> FlowSchedule:
    """The schedule of a checkpoint that was trained by flow matching.

    Args:
        config: as `read_scheduler` returns it.
        tokens: of an image.
        pipeline_sigmas: whether its pipeline gives the scheduler u from 1 down to one over the number of steps. If not,
            they end at the scheduler's own least level, the shifted one of the first training timestep.

    Raises:
        ExportError: the configuration is no schedule.
    """
    try:
        dynamic = bool(config["use_dynamic_shifting"])
        shift = _resolved(config, tokens) if dynamic else float(config["shift"])
        own = {name: config[name] for name in ("num_train_timesteps", "shift", "use_dynamic_shifting")}
        sigma_min = FlowMatchEulerDiscreteScheduler(**own).sigma_min
        return FlowSchedule(
            num_train_timesteps=config["num_train_timesteps"],
            shift=shift,
            sigma_min=None if pipeline_sigmas else float(sigma_min),
        )
    except Exception as error:  # whatever numbers of a wrong type raise
        raise ExportError(f"{file} gives no noise schedule: {first_line(error)}") from error


def _resolved(config: dict[str, Any], tokens: int) -> float:
    low, high = (float(config[name]) for name in ("base_image_seq_len", "max_image_seq_len"))
    base, top = (float(config[name]) for name in ("base_shift", "max_shift"))
    mu = base + (top - base) * (tokens - low) / (high - low)
    return math.exp(mu) if config["time_shift_type"] == "exponential" else mu
