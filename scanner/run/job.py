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
from memscan.scanner.input.manifest import Manifest
from memscan.scanner.local_path import local_path
from memscan.scanner.metrics.catalogue import METRICS
from memscan.scanner.metrics.plan import Price, plan_calls, price
from memscan.scanner.results.run_record import RunRecord
from memscan.scanner.results.schema import SCHEMA_VERSION, result_schema
from memscan.scanner.run.measurement import build_measurement, matching_calibrations
from memscan.scanner.run.request import Request
from memscan.scanner.run.share import WHOLE, Share
from memscan.scanner.settings import Execution, Measurement, fingerprint, fingerprint_parts

PART_ROWS = 256
"""Rows of a part by default: minutes of work on a GPU, and few enough files for a million rows."""

_IMAGES_A_ROW = 4
"""The usual one to four seeds a prompt are cut by rows; with more, a kill would lose the work of hours."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A scan and where its results go.

    `part_rows` bounds the parts of a new run, in rows, and at four times as much in images; a resumed run keeps its
    own. `share` is what this process does of it. `verified` says that the bundle's files were compared with their
    digests. `openmetrics` is a file for those who watch.
    `verify_outputs` reads maps and images of finished parts whole.
    With more than `max_errors` failed images the run stops. `retry_errors` scans anew what failed before.
    """

    manifest: Manifest
    bundle: Bundle
    measurement: Measurement
    execution: Execution
    out: Path
    part_rows: int = PART_ROWS
    share: Share = WHOLE
    verified: bool = True
    max_errors: int | None = None
    retry_errors: bool = False
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
        return result_schema(self.manifest.carried, metadata)

    def price(self) -> Price:
        """What an image costs that is sampled, by estimate."""
        measurement = self.measurement
        last = measurement.num_inference_steps if measurement.save_images else measurement.steps[-1].index
        return price(
            plan_calls([METRICS[name] for name in measurement.metrics], self.bundle.gives, measurement.derivative),
            steps_taken=last,
            states_measured=len(measurement.steps),
            states_left=sum(step.index < last for step in measurement.steps),
            num_probes=measurement.probes.count,
            tangents_per_call=self.bundle.tangents_per_call,
            passes_per_call=self.bundle.passes[measurement.derivative],
        )


def make_job(
    manifest: Manifest,
    bundle: Bundle,
    request: Request,
    execution: Execution,
    out: str | Path | None = None,
    *,
    part_rows: int | None = None,
    verified: bool = True,
    max_errors: int | None = None,
    retry_errors: bool = False,
    openmetrics: Path | None = None,
    verify_outputs: bool = False,
    warn: Callable[[str], None],
) -> Job:
    """The job that a caller asks for, from Python or from the command line.

    Args:
        out: the folder of the results; None is named after the manifest, in the working folder.
        warn: is given what the user should know about the measurement.

    Raises:
        UsageError: what is asked for is nothing that this bundle can measure, or `out` is a URL.
    """
    measurement, notes = build_measurement(bundle, request)
    for text in notes:
        warn(text)
    return Job(
        manifest,
        bundle,
        measurement,
        execution,
        local_path(f"{manifest.name}.memscan" if out is None else out),
        PART_ROWS if part_rows is None else part_rows,
        verified=verified,
        max_errors=max_errors,
        retry_errors=retry_errors,
        openmetrics=openmetrics,
        verify_outputs=verify_outputs,
    )
