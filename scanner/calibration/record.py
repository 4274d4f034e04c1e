"""A calibration: what a model's scores and maps are where nothing is memorized, and the settings that this speaks for.

A file of its own, by default `calibration.json` in the bundle's folder: the bundle and its digest stay as they are. It
names the bundle that it belongs to. Its own digest is part of the fingerprint of a run that uses it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from memscan.scanner.bundle import Bundle
from memscan.scanner.bundle_files import check_file
from memscan.scanner.bundle_parts import Calibration, Defaults, check_digest, check_map
from memscan.scanner.calibration.order_statistics import Limit
from memscan.scanner.errors import UsageError
from memscan.scanner.local_path import local_path
from memscan.scanner.metrics.catalogue import METRICS, SCORES
from memscan.scanner.records import RecordError, check_range, parse_json, read_record, shown
from memscan.scanner.results.p_values import CleanScores
from memscan.scanner.results.schema import SCORE_COLUMNS
from memscan.scanner.settings import Derivative, Measurement, Probes, Reference, Sampler, Screen

FILE = "calibration.json"
FORMAT_VERSION = 1
NONE = "none"
"""The word for no calibration at all."""

_LARGEST = 64 << 20
_MOST = 2**31


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings that a calibration speaks for: no threshold carries over to others."""

    num_inference_steps: int
    guidance_scale: float
    sampler: Sampler
    probes: Probes
    derivative: Derivative
    smooth: int = 1


@dataclasses.dataclass(frozen=True)
class Clean:
    """What it is made of: so many prompts with so many images each, and the SHA-256 of their JSON list."""

    prompts: int
    images_a_prompt: int
    prompts_digest: str

    def __post_init__(self) -> None:
        check_range("prompts", self.prompts, 1, _MOST)
        check_range("images_a_prompt", self.images_a_prompt, 1, _MOST)
        check_digest("prompts_digest", self.prompts_digest)


@dataclasses.dataclass(frozen=True)
class Overlap:
    """IoU that a mask's threshold reached on the labelled captions it was chosen on, and on those held out."""

    chosen_on: float
    held_out: float | None


@dataclasses.dataclass(frozen=True)
class ScoreLimit:
    """The clean scores of a column, ascending, where high means memorized, and the threshold of detection."""

    clean: tuple[float, ...]
    limit: Limit

    def __post_init__(self) -> None:
        if any(after < before for before, after in zip(self.clean, self.clean[1:], strict=False)):
            raise ValueError("clean scores do not ascend")


@dataclasses.dataclass(frozen=True)
class MapLimit:
    """Where masks of a map begin: at the rate of false positives `limit`, unless labels chose another `threshold`.

    `power` is that of `power.py`, None of maps that are no differences of curvature.
    """

    threshold: float
    limit: Limit
    power: float | None = None
    labelled: Overlap | None = None

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, -1e6, 1e6)


@dataclasses.dataclass(frozen=True)
class AtTimestep:
    """What was found at a timestep, by column and by map."""

    timestep: int
    scores: Mapping[str, ScoreLimit]
    maps: Mapping[str, MapLimit]

    def __post_init__(self) -> None:
        for name in self.maps:
            check_map("a map", name)
        for name in self.scores:
            if name not in SCORE_COLUMNS:
                raise ValueError(f"scores has {shown(name)}, which this memscan does not know")


@dataclasses.dataclass(frozen=True)
class Recall:
    """Of `images` with something memorized `passed` reach the screening's threshold; the share's 95% interval."""

    passed: int
    images: int
    low: float
    high: float

    def __post_init__(self) -> None:
        check_range("images", self.images, 1, _MOST)
        check_range("passed", self.passed, 0, self.images)


@dataclasses.dataclass(frozen=True)
class ScreenLimit:
    """Which images `--screen` scans: those whose `score` over the first `steps` guided steps reaches `limit.threshold`.

    At most a share `rate` of images of clean prompts does; `labelled` is how many of known memorized ones do.
    """

    steps: int
    score: str
    rate: float
    limit: Limit
    labelled: Recall | None = None

    def __post_init__(self) -> None:
        check_range("screen.steps", self.steps, 1, _MOST)
        check_range("screen.rate", self.rate, 0.0, 1.0)
        if self.score not in SCORES or METRICS[self.score].when == "measured":
            raise ValueError(f"screen.score is {shown(self.score)}, which is no score of the sampler's path")


@dataclasses.dataclass(frozen=True)
class Recommended:
    """What a run uses where its user says nothing, and why."""

    timestep: int
    mask_map: str
    score_name: str
    why: str


@dataclasses.dataclass(frozen=True)
class CalibrationRecord:
    """The content of a calibration's file; `levels` descend, `references` are of the metrics that need one.

    `screen` is None where the clean prompts are too few for its rate, and of calibrations of earlier versions.
    """

    format_version: int
    bundle: str
    version: str
    rate: float
    settings: Settings
    clean: Clean
    recommended: Recommended
    levels: tuple[AtTimestep, ...]
    references: tuple[Reference, ...] = ()
    screen: ScreenLimit | None = None

    def __post_init__(self) -> None:
        check_digest("bundle", self.bundle)
        check_range("rate", self.rate, 0.0, 1.0)
        level = self.level(self.recommended.timestep)
        if level is None:
            raise ValueError(f"recommended.timestep is {self.recommended.timestep}, which is none of the levels")
        if self.recommended.mask_map not in level.maps:
            raise ValueError(f"recommended.mask_map is {shown(self.recommended.mask_map)}, which is not calibrated")
        if self.recommended.score_name not in level.scores:
            raise ValueError(f"recommended.score_name is {shown(self.recommended.score_name)}, which is not calibrated")
        images = self.clean.prompts * self.clean.images_a_prompt
        for level in self.levels:
            for name, of_score in level.scores.items():
                if len(of_score.clean) != images:
                    raise ValueError(f"scores.{name} has {len(of_score.clean)} values for {images} images")

    def level(self, timestep: int) -> AtTimestep | None:
        """What was found at a timestep, if it is one of the levels."""
        return next((level for level in self.levels if level.timestep == timestep), None)

    def line(self) -> str:
        """What a run is told: the settings that it takes from here."""
        chosen, settings = self.recommended, self.settings
        return (
            f"calibrated on {self.clean.prompts} clean prompts at a rate of false positives of {self.rate:g}: unless "
            f"told otherwise, timestep {chosen.timestep}, {settings.num_inference_steps} steps of {settings.sampler}, "
            f"guidance {settings.guidance_scale:g}, {settings.probes.count} {settings.probes.kind} probes, "
            f"{settings.derivative} derivative, masks of {chosen.mask_map}, score {chosen.score_name}"
        )

    def to_json(self) -> bytes:
        return json.dumps(dataclasses.asdict(self), separators=(",", ":")).encode() + b"\n"


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """A calibration and the SHA-256 (hex) of its file."""

    record: CalibrationRecord
    digest: str

    def bundle(self, bundle: Bundle) -> Bundle:
        """The bundle, as the calibration would have it: its recommended settings are the defaults, and its thresholds
        come after those of the bundle, which they replace at the same settings."""
        record, settings = self.record, self.record.settings
        defaults = Defaults(
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            timesteps=(record.recommended.timestep,),
            probes=settings.probes,
            mask_map=record.recommended.mask_map,
            sampler=settings.sampler,
            derivative=settings.derivative,
        )
        thresholds = tuple(
            Calibration(
                name,
                level.timestep,
                of_map.threshold,
                settings.num_inference_steps,
                settings.guidance_scale,
                settings.probes,
                settings.sampler,
                settings.derivative,
                settings.smooth,
            )
            for level in record.levels
            for name, of_map in level.maps.items()
        )
        return dataclasses.replace(bundle, defaults=defaults, calibrations=(*bundle.calibrations, *thresholds))

    def is_same_path(
        self, sampler: Sampler | None, num_inference_steps: int | None, guidance_scale: float | None
    ) -> bool:
        """Whether images are sampled as those of the calibration, with None for its own: what a reference is of."""
        settings = self.record.settings
        return (
            sampler in (None, settings.sampler)
            and num_inference_steps in (None, settings.num_inference_steps)
            and guidance_scale in (None, settings.guidance_scale)
        )

    def screen(self, measurement: Measurement) -> Screen | None:
        """Which images of a measurement are worth a scan; None where it samples by another path than was calibrated."""
        found, path = self.record.screen, measurement
        if found is None or not self.is_same_path(path.sampler, path.num_inference_steps, path.guidance_scale):
            return None
        if any(index < found.steps for index, _ in measurement.moved):
            return None
        return Screen(found.steps, found.score, found.limit.threshold)

    def clean_scores(self, measurement: Measurement, timestep: int) -> CleanScores | None:
        """The clean scores of a measurement's score column at a timestep; None where the settings are not these."""
        record = self.record
        level = record.level(timestep)
        if level is None or measurement.score_name not in level.scores:
            return None
        if record.settings != settings_of(measurement) or any(there != timestep for _, there in measurement.moved):
            return None
        ascending = np.array(level.scores[measurement.score_name].clean, np.float32)
        return CleanScores(ascending, record.clean.prompts)


def settings_of(measurement: Measurement) -> Settings:
    """The settings that a calibration made by this measurement speaks for."""
    return Settings(
        measurement.num_inference_steps,
        measurement.guidance_scale,
        measurement.sampler,
        measurement.probes,
        measurement.derivative,
        measurement.smooth,
    )


def find_calibration(bundle: Bundle, named: str | Path | None = None) -> Calibrated | None:
    """The calibration in the file that is `named`, or else that of the bundle's folder, if there is one.

    Args:
        named: "none" is no calibration, whatever the folder has.

    Raises:
        UsageError: there is no such file, it is no calibration, or that of another bundle.
    """
    if str(named) == NONE:
        return None
    file = bundle.path / FILE if named is None else local_path(named)
    if named is None:
        if not file.exists() and not file.is_symlink():
            return None
        check_file(bundle.path, FILE)
    raw = _content(file)
    return Calibrated(_of_bundle(raw, file, bundle), hashlib.sha256(raw).hexdigest())


def read_calibration(file: Path) -> CalibrationRecord:
    """The calibration in a file, whatever bundle it is of.

    Raises:
        UsageError: there is no such file, or it is no calibration.
    """
    return _parsed(_content(file), file, "give a file that `memscan calibrate` has made")


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"cannot read the calibration {file}: {error.strerror}") from error


def _parsed(raw: bytes, file: Path, how: str) -> CalibrationRecord:
    if len(raw) > _LARGEST:
        raise UsageError(f"{file} has more than {_LARGEST} bytes, which no calibration needs: {how}")
    try:
        value = parse_json(raw)
        version = value.get("format_version") if isinstance(value, dict) else None
        if version != FORMAT_VERSION or isinstance(version, bool):
            raise RecordError(f"calibration format {shown(version)}, this memscan reads {FORMAT_VERSION}")
        return read_record(CalibrationRecord, value)
    except ValueError as error:
        raise UsageError(f"{file} is no calibration ({error}): {how}") from error


def _of_bundle(raw: bytes, file: Path, bundle: Bundle) -> CalibrationRecord:
    how = f"make it with `memscan calibrate {bundle.path}`, or run with --calibration none"
    record = _parsed(raw, file, how)
    try:
        for index, level in enumerate(record.levels):
            check_range(f"levels[{index}].timestep", level.timestep, 0, bundle.schedule.last_timestep)
    except ValueError as error:
        raise UsageError(f"{file} is no calibration ({error}): {how}") from error
    if record.bundle != bundle.digest:
        raise UsageError(
            f"{file} is the calibration of another bundle ({record.bundle[:12]}..., not {bundle.digest[:12]}...): {how}"
        )
    if record.settings.derivative not in bundle.passes:
        raise UsageError(f"{file} is no calibration (settings.derivative is none of the bundle's): {how}")
    return record
