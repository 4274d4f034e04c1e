"""The noise of a checkpoint, of whichever kind its scheduler is: DDPM's, EDM's or flow matching's."""

from pathlib import Path
from typing import Any

from memscan.export.checkpoint.configuration.scheduler import EDM_CLASSES, FLOW_CLASS
from memscan.export.checkpoint.edm import Preconditioning, read_edm_schedule, read_preconditioning
from memscan.export.checkpoint.family import Family
from memscan.export.checkpoint.flow_schedule import read_flow_schedule
from memscan.export.checkpoint.prediction import known_prediction
from memscan.export.checkpoint.schedule import read_schedule
from memscan.scanner.bundle import Prediction
from memscan.scanner.schedules import Schedule


def noise_schedule(file: Path, config: dict[str, Any], family: Family, latent_shape: tuple[int, int, int]) -> Schedule:
    """The schedule in `file`, whose configuration `read_scheduler` returned, with shifts for these latents (C, h, w).

    Raises:
        ExportError: there is none that can be exported.
    """
    if config["_class_name"] in EDM_CLASSES:
        return read_edm_schedule(file, config)
    if config["_class_name"] != FLOW_CLASS:
        return read_schedule(file, config, family.steps_offset)
    _, height, width = latent_shape
    tokens = (height // family.patch) * (width // family.patch)
    return read_flow_schedule(file, config, tokens=tokens, pipeline_sigmas=family.pipeline_sigmas)


def preconditioning_of(file: Path, config: dict[str, Any]) -> Preconditioning | None:
    """How the denoiser is asked, if it was trained with EDM's noise.

    Raises:
        ExportError: it is asked in a way that cannot be exported.
    """
    return read_preconditioning(file, config) if config["_class_name"] in EDM_CLASSES else None


def prediction_of(config: dict[str, Any]) -> Prediction:
    """What the denoiser predicts; of EDM's noise always v, which its preconditioning makes.

    Raises:
        ExportError: it predicts something of which no eps can be made.
    """
    return "v_prediction" if config["_class_name"] in EDM_CLASSES else known_prediction(str(config["prediction_type"]))
