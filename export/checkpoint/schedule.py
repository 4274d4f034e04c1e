"""The noise that a checkpoint was trained with, read from its scheduler's configuration."""

import itertools
from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler

from memscan.export.checkpoint.configuration.keys import check_keys
from memscan.export.checkpoint.configuration.scheduler import (
    CLASSES,
    EDM,
    EDM_CLASSES,
    EDM_SCHEDULER,
    FLOW,
    FLOW_CLASS,
    FLOW_SCHEDULER,
    MIN_TIMESTEPS,
    SCHEDULER,
)
from memscan.export.checkpoint.few_steps import CONSISTENCY
from memscan.export.checkpoint.files import read_json
from memscan.scanner.errors import ExportError, first_line
from memscan.scanner.schedules import DdpmSchedule


def scheduler_file(path: Path) -> Path:
    """The configuration of the scheduler of the checkpoint at `path`, which some folders call config.json."""
    folder = path / "scheduler"
    usual, other = folder / "scheduler_config.json", folder / "config.json"
    return other if other.is_file() and not usual.exists() and not usual.is_symlink() else usual


def read_scheduler(path: Path, index: dict[str, Any]) -> dict[str, Any]:
    """The checked configuration of the scheduler of the checkpoint at `path`.

    What it leaves out of the training noise is as its class has it, which another class may have otherwise. Flow
    matching's has a `prediction_type`, "flow_prediction", which its file never names, and what begins at the noisiest
    level whatever its spacing is called is "trailing".

    Args:
        index: `model_index.json`, which names the class that a pipeline builds; {} if there is none.

    Raises:
        ExportError: the class is none that memscan knows to add noise as DDPM or flow matching do, or a key has a
            meaning that cannot be exported.
    """
    file = scheduler_file(path)
    config = read_json(file)
    written = config.get("_class_name")
    entry = index.get("scheduler")
    named = entry[1] if isinstance(entry, list) and len(entry) == 2 else written
    for name in (named, written):
        if not isinstance(name, str) or _kind(name) is None:
            raise ExportError(
                f"{path / 'scheduler'} is a {name}, which memscan cannot export; it exports models trained with"
                f" DDPM's noise, whose scheduler is one of {', '.join(CLASSES)}, with EDM's ({', '.join(EDM_CLASSES)})"
                f" and by flow matching ({FLOW_CLASS})"
            )
    kind = _kind(str(named))
    if kind != _kind(str(written)):
        raise ExportError(f"{path / 'model_index.json'} names a {named}, but {file} is of a {written}")
    keys, absent = {
        "ddpm": (SCHEDULER, CLASSES.get(str(named), {})),
        "edm": (EDM_SCHEDULER, EDM),
        "flow": (FLOW_SCHEDULER, FLOW),
    }[str(kind)]
    check_keys(file, config, keys)
    config = {**absent, **config}
    if kind == "flow":
        config["prediction_type"] = "flow_prediction"
    if named in CONSISTENCY:
        config["timestep_spacing"] = "trailing"
    timesteps = config["num_train_timesteps"]
    if isinstance(timesteps, bool) or not isinstance(timesteps, int) or timesteps < MIN_TIMESTEPS:
        raise ExportError(
            f"{file} has num_train_timesteps {timesteps!r}, which memscan cannot export; it needs {MIN_TIMESTEPS} or"
            " more"
        )
    return config


def _kind(name: str) -> str | None:
    """Of noise, by the name of a class."""
    if name in EDM_CLASSES:
        return "edm"
    return "ddpm" if name in CLASSES else "flow" if name == FLOW_CLASS else None


def read_schedule(file: Path, config: dict[str, Any], steps_offset: int | None) -> DdpmSchedule:
    """The noise schedule, as a pipeline's DDIM scheduler has it; its samples are never clipped.

    Args:
        config: as `read_scheduler` returns it.
        steps_offset: what the family's pipeline takes whatever the configuration says.

    Raises:
        ExportError: the betas are no schedule, or it begins at pure noise (zero terminal SNR), of which only a
            prediction of v makes an image.
    """
    try:
        scheduler = DDIMScheduler.from_config({**config, "_class_name": "DDIMScheduler"})
        levels = scheduler.alphas_cumprod.double().tolist()
    except Exception as error:  # whatever betas of a wrong type raise
        raise ExportError(f"{file} gives no noise schedule: {first_line(error)}") from error
    timesteps = int(scheduler.config.num_train_timesteps)
    if len(levels) != timesteps:
        raise ExportError(f"{file} has {len(levels)} trained_betas for {timesteps} training timesteps")
    if levels[-1] == 0 and config["prediction_type"] != "v_prediction":
        raise ExportError(
            f"{file.parent} has zero terminal SNR and predicts {config['prediction_type']}, which says nothing of the"
            " image at pure noise; memscan exports zero terminal SNR with v_prediction"
        )
    if levels[-1] < 0 or not all(1 > before > after for before, after in itertools.pairwise(levels)):
        raise ExportError(f"{file} gives no noise schedule: its noise does not grow with the timestep")
    return DdpmSchedule(
        num_train_timesteps=timesteps,
        alphas_cumprod=tuple(levels),
        steps_offset=int(scheduler.config.steps_offset) if steps_offset is None else steps_offset,
        set_alpha_to_one=bool(scheduler.config.set_alpha_to_one),
        timestep_spacing=str(scheduler.config.timestep_spacing),
    )
