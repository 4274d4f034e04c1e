"""What a run is to do: the manifest to scan, by which model and settings, and where the results go."""

import dataclasses
import json
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from memscan.scanner.bundle import Bundle
from memscan.scanner.input.manifest import Manifest
from memscan.scanner.results.run_record import RunRecord
from memscan.scanner.results.schema import SCHEMA_VERSION, result_schema
from memscan.scanner.run.measurement import matching_calibrations
from memscan.scanner.settings import Execution, Measurement, fingerprint, fingerprint_parts

SHARD_ROWS = 256
"""Rows of a part by default: minutes of work on a GPU, and few enough files for a million rows."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A scan and where its results go. `shard_rows` counts only when the run is new: a resumed run keeps its own."""

    manifest: Manifest
    bundle: Bundle
    measurement: Measurement
    execution: Execution
    out: Path
    shard_rows: int = SHARD_ROWS

    def record(self) -> RunRecord:
        """What the output folder will remember of this job."""
        return RunRecord(
            settings=fingerprint_parts(self.bundle.digest, self.measurement),
            fingerprint=fingerprint(self.bundle.digest, self.measurement),
            shard_rows=self.shard_rows,
            schema_version=SCHEMA_VERSION,
            version=version("memscan"),
        )

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
