"""The scores of a calibration's clean prompts, drawn beside a run's: only where both are of the same measurement."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memscan.scanner.calibration.record import CalibrationRecord, read_calibration
from memscan.scanner.errors import UsageError
from memscan.scanner.records import shown
from memscan.scanner.report.survey import Survey
from memscan.scanner.results.reader import Results


def clean_scores(file: Path, results: Results, found: Survey) -> NDArray[np.float32]:
    """The clean scores [N], ascending, of the calibration in a file, at the step of a survey.

    Raises:
        UsageError: there is no such file, it is no calibration, or that of another measurement: the message says what
            differs.
    """
    record = read_calibration(file)
    held = results.origin.settings
    for name, value in _settings(record).items():
        if name in held and held[name] != value:
            raise UsageError(
                f"{file} is the calibration of another measurement: its {name} is {shown(value)}, that of "
                f"{results.path} {shown(held[name])}: give that of the run's own model and settings"
            )
    timestep = found.common.get("timestep")
    level = None if timestep is None else record.level(timestep)
    if level is None or results.score_name not in level.scores:
        raise UsageError(f"{file} has no {results.score_name} at timestep {timestep}: calibrate it, or choose a --step")
    return np.array(level.scores[results.score_name].clean, np.float32)


def _settings(record: CalibrationRecord) -> dict[str, object]:
    """As the fingerprint of a run names them."""
    settings = record.settings
    return {
        "bundle": record.bundle,
        "num_inference_steps": settings.num_inference_steps,
        "guidance_scale": settings.guidance_scale,
        "sampler": settings.sampler,
        "probes.kind": settings.probes.kind,
        "probes.count": settings.probes.count,
        "probes.seed": settings.probes.seed,
        "derivative": settings.derivative,
        "smooth": settings.smooth,
    }
