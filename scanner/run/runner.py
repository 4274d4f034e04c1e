"""A run: every part of the manifest that is not done yet is scanned and committed, then the run is marked as complete.

Whatever dies when, the same call does the rest, and nothing twice.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager

import pyarrow as pa

from memscan.scanner.bundle import Bundle
from memscan.scanner.input.manifest import Census
from memscan.scanner.model.engine import Engine, open_engine
from memscan.scanner.notes import Note
from memscan.scanner.results.finished import finished_parts
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.run_record import adopt_record, held_record
from memscan.scanner.results.tally import Tally
from memscan.scanner.run.batches import batches
from memscan.scanner.run.job import Job
from memscan.scanner.run.part import ScannedBatch, write_parts
from memscan.scanner.run.progress import Advance, show_progress
from memscan.scanner.run.stages import Behind, made_ahead
from memscan.scanner.scan.batch_ceiling import BatchCeiling
from memscan.scanner.scan.scanner import Scanner
from memscan.scanner.settings import Execution


@dataclasses.dataclass(frozen=True)
class Summary:
    """How a run ended: the fate of all its images, and how many of them this call found done already."""

    total: Tally
    found: int

    @property
    def was_complete(self) -> bool:
        return self.found == self.total.images


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run would do: how much there is, on which device, and whether it continues one."""

    census: Census
    provider: str
    resumes: bool


def plan(job: Job) -> Plan:
    """Check all that can be checked without scanning or writing anything.

    Raises:
        UsageError: as `run`, except for what only the rows of finished parts can tell.
        EnvironmentFailed: the engine cannot be started.
    """
    census = job.manifest.census()
    job.schema(job.record())
    held = held_record(OutputFolder(job.out), job.record())
    return Plan(census, open_engine(job.bundle, job.execution).device, held is not None)


def run(
    job: Job,
    *,
    note: Note,
    progress: Callable[[int, int], AbstractContextManager[Advance]] = show_progress,
    opener: Callable[[Bundle, Execution, Note], Engine] = open_engine,
) -> Summary:
    """Do what is left of a job.

    Args:
        note: is given lines that the user should read.
        progress: as `show_progress`.
        opener: as `open_engine`.

    Raises:
        UsageError: a carried column has the name of a result column; the output folder cannot be written, holds another
            run, or results of other rows; the manifest cannot be read to its end.
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
        _clear_damaged(folder, done, note)
        if found.images:
            note(f"{found.images} of {images} images are done already")
        with progress(images, found.images) as advance:
            engine = opener(job.bundle, job.execution, note)
            if engine.remark:
                note(engine.remark)
            total = found + _scan_rest(job, engine, folder, schema, record.shard_rows, done, note, advance)
        folder.mark_complete()
    return Summary(total, found.images)


def _clear_damaged(folder: OutputFolder, done: dict[int, Tally], note: Note) -> None:
    for number, path in folder.parts().items():
        if number not in done:
            note(f"{path} is damaged: its rows are scanned again")
            path.unlink()


def _scan_rest(
    job: Job,
    engine: Engine,
    folder: OutputFolder,
    schema: pa.Schema,
    shard_rows: int,
    done: dict[int, Tally],
    note: Note,
    advance: Advance,
) -> Tally:
    """Scan in this thread, while another reads and prepares the next batch and a third writes the ones before."""
    ceiling = BatchCeiling(job.execution.batch_size or engine.usual_batch, note)
    scanner = Scanner(job.bundle, engine, job.measurement, ceiling)
    todo = batches(job.manifest, shard_rows, done, scanner.prepare, ceiling)
    write = functools.partial(write_parts, job, folder, schema)
    with contextlib.closing(made_ahead(todo)) as ready, Behind(write) as writer:
        for batch in ready:
            writer.put(ScannedBatch(batch, tuple(scanner.scan(batch.prepared))))
            advance(batch.images)
        return writer.finish()
