"""A run: every part of the manifest that is not done yet is scanned and committed, then the run is marked as complete.

A part is a fixed range of manifest rows. Its maps and images are committed before its results, since the results file
*is* the record that the part is done. Whatever dies when, the same call does the rest, and nothing twice.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from memscan.scanner.bundle import Bundle
from memscan.scanner.engine import Engine
from memscan.scanner.finished import DIGEST_KEY, Tally, cut, finished_parts, input_digest, tally
from memscan.scanner.manifest import Manifest
from memscan.scanner.maps_table import MapsWriter
from memscan.scanner.measurement import matching_calibrations, measured_steps
from memscan.scanner.output import OutputFolder
from memscan.scanner.progress import Advance, show_progress
from memscan.scanner.results import SCHEMA_VERSION, RowMaker, result_schema
from memscan.scanner.rows import RawRow, parse_row
from memscan.scanner.run_record import RunRecord, adopt_record
from memscan.scanner.samples import Rejected, Sample, Scanned
from memscan.scanner.scan import scan
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
        """The schema of the result files, with all that is the same in every one of them.

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


@dataclasses.dataclass(frozen=True)
class Summary:
    """How a run ended: the fate of all its images, and how many of them this call found done already."""

    total: Tally
    found: int

    @property
    def was_complete(self) -> bool:
        return self.found == self.total.images


def run(
    job: Job,
    *,
    note: Callable[[str], None],
    progress: Callable[[int, int], AbstractContextManager[Advance]] = show_progress,
) -> Summary:
    """Do what is left of a job.

    Args:
        note: is given lines that the user should read.
        progress: as `show_progress`.

    Raises:
        UsageError: the output folder cannot be written, holds another run, or results of other rows; the manifest
            cannot be read to its end.
        EnvironmentFailed: another process writes to the output folder; the device failed.
        OSError: the disk failed, or is full.
    """
    images = job.manifest.census().images
    job.schema(job.record())  # refuses what cannot be carried before anything is written
    folder = OutputFolder(job.out)
    with folder.locked():
        record = adopt_record(folder, job.record())
        if record.shard_rows != job.shard_rows:
            note(f"{job.out} is cut into parts of {record.shard_rows} rows, and stays so")
        schema = job.schema(record)
        done = finished_parts(folder, job.manifest, schema, record.shard_rows, with_maps=job.measurement.save_maps)
        found = sum(done.values(), Tally())
        if folder.complete and found.images == images:
            return Summary(found, found.images)
        folder.unmark_complete()
        for number, path in folder.parts().items():
            if number not in done:
                note(f"{path} is damaged: its rows are scanned again")
                path.unlink()
        if found.images:
            note(f"{found.images} of {images} images are done already")
        total = found
        engine = Engine(job.bundle, job.execution)
        with progress(images, found.images) as advance:
            for number, rows in cut(job.manifest, record.shard_rows):
                if number in done:
                    for _ in rows:
                        pass
                else:
                    total += _Part(job, folder, schema, engine, number).scan(rows, advance)
        folder.mark_complete()
    return Summary(total, found.images)


class _Part:
    """The scan of one part."""

    def __init__(self, job: Job, folder: OutputFolder, schema: pa.Schema, engine: Engine, number: int) -> None:
        self._job = job
        self._folder = folder
        self._schema = schema
        self._engine = engine
        self._number = number
        steps = measured_steps(job.bundle, job.measurement)
        self._maker = RowMaker(job.bundle.model_id, job.measurement.mask_map, steps)
        self._digests: list[bytes] = []
        self._rejected: list[Rejected] = []

    def scan(self, rows: Iterator[tuple[int, RawRow]], advance: Advance) -> Tally:
        job = self._job
        results: list[dict[str, Any]] = []
        with self._maps() as maps:
            for item in scan(job.bundle, self._engine, job.measurement, self._samples(rows), job.execution.batch_size):
                results += self._maker.rows(item)
                if isinstance(item, Scanned):
                    if maps:
                        maps.add(item)
                    self._save_image(item)
                advance(1)
        for rejected in self._rejected:
            results += self._maker.rows(rejected)
        advance(len(self._rejected))
        return self._commit(results)

    def _samples(self, rows: Iterator[tuple[int, RawRow]]) -> Iterator[Sample]:
        for index, raw in rows:
            row = parse_row(index, raw)
            self._digests.append(row.digest)
            for item in row.items:
                if isinstance(item, Rejected):
                    self._rejected.append(item)
                else:
                    yield item

    @contextlib.contextmanager
    def _maps(self) -> Iterator[MapsWriter | None]:
        if not self._job.measurement.save_maps:
            yield None
            return
        with self._folder.writing(self._folder.maps_part(self._number)) as stream:
            writer = MapsWriter(stream, self._schema.metadata, self._job.measurement.steps)
            try:
                yield writer
                writer.close()
            except BaseException:
                writer.abandon()
                raise

    def _save_image(self, item: Scanned) -> None:
        if item.image is not None:
            with self._folder.writing(self._folder.image(item.sample.row, item.sample.seed)) as stream:
                Image.fromarray(item.image).save(stream, "PNG")

    def _commit(self, results: list[dict[str, Any]]) -> Tally:
        results.sort(key=lambda row: (row["row"], row["seed"], row["step_index"]))
        metadata = self._schema.metadata | {DIGEST_KEY.encode(): input_digest(self._digests).encode()}
        table = pa.Table.from_pylist(results, self._schema.with_metadata(metadata))
        encoded = pa.BufferOutputStream()
        pq.write_table(table, encoded, compression="zstd", write_page_checksum=True)
        with self._folder.writing(self._folder.results_part(self._number)) as stream:
            stream.write(encoded.getvalue())
        return tally(table)
