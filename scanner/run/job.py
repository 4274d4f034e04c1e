"""What a run is to do: the manifest to scan, by which model and settings, and where the results go."""

import dataclasses
import functools
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from memscan.scanner.bundle import Bundle, file_digest
from memscan.scanner.calibration.record import Calibrated
from memscan.scanner.input.manifest import Manifest
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.metric import Metric
from memscan.scanner.metrics.plan import Price, plan_calls, price
from memscan.scanner.metrics.shares import price_shares
from memscan.scanner.place import Place, place_of
from memscan.scanner.results.p_values import CleanScores
from memscan.scanner.results.run_record import RunRecord
from memscan.scanner.results.schema import SCHEMA_VERSION, result_schema
from memscan.scanner.run.measurement import build_measurement, matching_calibrations, measured_steps
from memscan.scanner.run.request import Request
from memscan.scanner.run.share import WHOLE, Share
from memscan.scanner.settings import Execution, Measurement, Reference, fingerprint, fingerprint_parts

PART_ROWS = 256
"""Rows of a part by default: minutes of work on a GPU, and few enough files for a million rows."""

_IMAGES_A_ROW = 4
"""The usual one to four seeds a prompt are cut by rows; with more, a kill would lose the work of hours."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A scan and where its results go.

    `part_rows` bounds the parts of a new run, in rows, and at four times as much in images; a resumed run keeps its
    own. `share` is what this process does of it. `verified` says that the bundle's files were compared with their
    digests. With more than `max_errors` failed images the run stops. `retry_errors` scans anew what failed before.
    `bundle` is as the `calibration` would have it, if there is one. `openmetrics` is a file for those who watch.
    `verify_outputs` reads maps and images of finished parts whole.
    """

    manifest: Manifest
    bundle: Bundle
    measurement: Measurement
    execution: Execution
    out: Place
    part_rows: int = PART_ROWS
    share: Share = WHOLE
    verified: bool = True
    max_errors: int | None = None
    retry_errors: bool = False
    calibration: Calibrated | None = None
    openmetrics: Path | None = None
    verify_outputs: bool = False

    @functools.cached_property
    def record(self) -> RunRecord:
        """What the output folder will remember of this job; if it is not `verified`, the bundle's files are read."""
        files = self.bundle.files
        if not self.verified:
            files = {name: file_digest(self.bundle.file(name)) for name in files}
        return RunRecord(
            settings=fingerprint_parts(self.bundle.digest, self.measurement),
            fingerprint=fingerprint(self.bundle.digest, self.measurement),
            files=files,
            verified=self.verified,
            part_rows=self.part_rows,
            part_images=_IMAGES_A_ROW * self.part_rows,
            schema_version=SCHEMA_VERSION,
            version=version("memscan"),
            selection=self.manifest.selection,
            save_maps=self.measurement.save_maps,
            save_images=self.measurement.save_images,
        )

    def keeping(self, record: RunRecord) -> "Job":
        """The job that keeps what its run keeps: maps and images that were asked for by any command of the run."""
        kept = dataclasses.replace(self.measurement, save_maps=record.save_maps, save_images=record.save_images)
        return self if kept == self.measurement else dataclasses.replace(self, measurement=kept)

    @property
    def constants(self) -> dict[str, Any]:
        """The columns of results that are the same in every row of the run."""
        return {
            "run_id": self.record.fingerprint,
            "model_digest": self.bundle.model_digest,
            "guidance_scale": self.measurement.guidance_scale,
            "sampler": self.measurement.sampler,
            "num_inference_steps": self.measurement.num_inference_steps,
            "memscan_version": self.record.version,
        }

    def schema(self, record: RunRecord) -> pa.Schema:
        """The schema of the result files, with the metadata that all of them share.

        Raises:
            UsageError: a carried column has the name of a result column.
        """
        calibrations = matching_calibrations(self.bundle, self.measurement)
        thresholds = [{"map": one.map, "timestep": one.timestep, "threshold": one.threshold} for one in calibrations]
        metadata = {
            "version": record.version,
            "fingerprint": record.fingerprint,
            "run": record.to_json(),
            "latent_channels": str(self.bundle.latent_shape[0]),
            "thresholds": json.dumps(thresholds),
        }
        if clean := self.clean_scores():
            metadata["clean_prompts"] = json.dumps(next(iter(clean.values())).prompts)
        return result_schema(self.manifest.carried, metadata)

    def clean_scores(self) -> dict[int, CleanScores]:
        """By the index of a measured step, what p-values are ranks among; only where the settings are calibrated."""
        if self.calibration is None:
            return {}
        steps = measured_steps(self.bundle, self.measurement)
        found = {step.index: self.calibration.clean_scores(self.measurement, step.timestep) for step in steps}
        return {index: clean for index, clean in found.items() if clean is not None}

    def price(self) -> Price:
        """What an image costs that is sampled, by estimate."""
        measurement = self.measurement
        last = measurement.num_inference_steps if measurement.save_images else measurement.steps[-1].index
        return price(
            plan_calls(
                self._metrics,
                self.bundle.gives,
                measurement.derivative,
                first_measured=self._first_measured,
                unguided=self._unguided,
            ),
            steps_taken=last,
            measured=[step.index for step in measurement.steps],
            num_probes=measurement.probes.count,
            tangents_per_call=self.bundle.tangents_per_call,
            passes_per_call=self.bundle.passes[measurement.derivative],
            condition_passes=self.bundle.condition_passes,
        )

    def price_shares(self) -> dict[str, float]:
        """What each metric adds to the price, in forward passes beyond sampling."""
        measurement = self.measurement
        passes = self.bundle.passes[measurement.derivative]
        return price_shares(
            self._metrics,
            self.bundle.gives,
            measurement.derivative,
            first_measured=self._first_measured,
            unguided=self._unguided,
            states_measured=len(measurement.steps),
            passes_per_condition=-(-measurement.probes.count // self.bundle.tangents_per_call) * passes,
            passes_per_call=passes,
            condition_passes=self.bundle.condition_passes,
        )

    @property
    def _metrics(self) -> list[Metric]:
        return [METRICS[name] for name in self.measurement.metrics]

    @property
    def _unguided(self) -> bool:
        return self.bundle.is_unguided(self.measurement.guidance_scale)

    @property
    def _first_measured(self) -> bool:
        return self.measurement.steps[0].index == 0


def make_job(
    manifest: Manifest,
    bundle: Bundle,
    request: Request,
    execution: Execution,
    out: str | Place | None = None,
    *,
    part_rows: int | None = None,
    share: Share = WHOLE,
    verified: bool = True,
    max_errors: int | None = None,
    retry_errors: bool = False,
    calibration: Calibrated | None = None,
    references: tuple[Reference, ...] = (),
    openmetrics: Path | None = None,
    verify_outputs: bool = False,
    warn: Callable[[str], None],
) -> Job:
    """The job that a caller asks for, from Python or from the command line.

    Args:
        out: the folder of the results, or its URL; None is named after the manifest, in the working folder.
        calibration: of the bundle: its settings are the defaults, and its references are known.
        references: others that are known.
        warn: is given what the user should know about the measurement.

    Raises:
        UsageError: what is asked for is nothing that this bundle can measure, or `out` is a URL of
            an unknown kind.
    """
    if calibration is not None:
        bundle = calibration.bundle(bundle)
        same_path = calibration.is_same_path(request.sampler, request.num_inference_steps, request.guidance_scale)
        references = (*references, *(calibration.record.references if same_path else ()))
    measurement, notes = build_measurement(bundle, request, references, calibration)
    for text in notes:
        warn(text)
    return Job(
        manifest,
        bundle,
        measurement,
        execution,
        place_of(f"{manifest.name}.memscan" if out is None else out),
        PART_ROWS if part_rows is None else part_rows,
        share,
        verified=verified,
        max_errors=max_errors,
        retry_errors=retry_errors,
        calibration=calibration,
        openmetrics=openmetrics,
        verify_outputs=verify_outputs,
    )
