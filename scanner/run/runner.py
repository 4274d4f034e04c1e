"""A run: what a share's parts lack is scanned and committed; once all parts of all shares are there, the run is marked.

Whatever dies when, the same call does the rest, and nothing twice.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import pyarrow as pa

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import TooManyErrors
from memscan.scanner.input.manifest import Census
from memscan.scanner.model.graphs import Graphs, open_graphs
from memscan.scanner.notes import Note
from memscan.scanner.results import layout
from memscan.scanner.results.extent import Extent
from memscan.scanner.results.finished import Findings, finished_parts
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.run_record import RunRecord, adopt_record, held_record
from memscan.scanner.results.store import LocalStore
from memscan.scanner.results.tally import Tally
from memscan.scanner.run.batches import batches
from memscan.scanner.run.complete import complete
from memscan.scanner.run.cut import Bounds, Survey, input_digests, survey
from memscan.scanner.run.job import Job
from memscan.scanner.run.part import ScannedBatch, Work, write_parts
from memscan.scanner.run.progress import Advance, show_progress
from memscan.scanner.run.share import claimed
from memscan.scanner.run.stages import Behind, made_ahead
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
from memscan.scanner.scanning.scanner import Scanner
from memscan.scanner.settings import Execution

Progress = Callable[[int, int], AbstractContextManager[Advance]]
Opener = Callable[[Bundle, Execution, Note], Graphs]


@dataclasses.dataclass(frozen=True)
class Summary:
    """How a call ended: the fate of all images of its share, and how many of them it found done already.

    `complete` says that no part of any share is missing.
    """

    total: Tally
    found: int
    complete: bool

    @property
    def was_complete(self) -> bool:
        return self.complete and self.found == self.total.images


@dataclasses.dataclass(frozen=True)
class Outlook:
    """What a run would do: how much there is, on which device, and whether it continues one."""

    census: Census
    device: str
    resumes: bool


def preview(job: Job) -> Outlook:
    """Check all that can be checked without scanning or writing anything.

    Raises:
        UsageError: as `run`, except for what only the rows of finished parts can tell.
        EnvironmentFailed: the engine cannot be started.
    """
    folder = OutputFolder(LocalStore(job.out))
    held = held_record(folder, job.record)
    census = survey(job.manifest, _bounds(held or job.record)).census
    job.schema(job.record)
    return Outlook(census, open_graphs(job.bundle, job.execution).device, held is not None)


def run(job: Job, *, note: Note, progress: Progress = show_progress, opener: Opener = open_graphs) -> Summary:
    """Do what is left of a job's share.

    Args:
        note: is given lines that the user should read.
        progress: as `show_progress`.
        opener: as `open_graphs`.

    Raises:
        UsageError: a carried column has the name of a result column; the output folder cannot be written, holds another
            run, or results of other rows; the manifest cannot be read to its end, or changes meanwhile.
        TooManyErrors: more images failed than the job allows.
        EnvironmentFailed: another process works on the share; the device failed.
        OSError: the disk failed, or is full.
    """
    folder = OutputFolder(LocalStore(job.out, layout.scratch(job.share.name)))
    held = held_record(folder, job.record)
    bounds = _bounds(held or job.record)
    wanted = survey(job.manifest, bounds)
    job.schema(job.record)  # refuses what cannot be carried before anything is written
    with claimed(folder.store, job.share, note):
        record = adopt_record(folder, job.record)
        if _bounds(record) != bounds:
            wanted = survey(job.manifest, _bounds(record))
        if record.part_rows != job.part_rows:
            note(f"{job.out} is cut into parts of {record.part_rows} rows, and stays so")
        schema = job.schema(record)
        extents = {number: wanted.parts[number] for number in job.share.parts(len(wanted.parts))}
        findings = _find(job, folder, schema, extents, wanted, known=held is not None)
        left = {number: extent for number, extent in extents.items() if number not in findings.whole}
        found = sum((part.tally for part in findings.whole.values()), Tally())
        if not (left or findings.torn) and folder.complete:
            return Summary(found, found.images, complete=True)
        folder.unmark_complete()
        _set_aside(folder, findings, note)
        work = Work(job, folder, schema, left, {n: findings.parts[n] for n in left if n in findings.parts})
        total = found + (_scan(work, found, note, progress, opener) if left else Tally())
        missing = complete(folder, wanted, record.fingerprint.encode(), job.measurement)
        if missing:
            note(f"share {job.share.name} is done; {missing} of {len(wanted.parts)} parts are left to the other shares")
    return Summary(total, found.images, complete=not missing)


def _bounds(record: RunRecord) -> Bounds:
    return Bounds(record.part_rows, record.part_images)


def _find(
    job: Job, folder: OutputFolder, schema: pa.Schema, extents: Mapping[int, Extent], wanted: Survey, *, known: bool
) -> Findings:
    def digests_of(numbers: Sequence[int]) -> Iterator[str]:
        return input_digests(job.manifest, [(number, extents[number]) for number in numbers])

    count, with_maps = len(wanted.parts), job.measurement.save_maps
    return finished_parts(folder, schema, digests_of, extents, count, known=known, with_maps=with_maps)


def _set_aside(folder: OutputFolder, findings: Findings, note: Note) -> None:
    for name in findings.torn:
        aside = folder.store.set_aside(name)
        note(f"{folder.path / name} is damaged: it is kept as {aside}, and its rows are scanned again")
    for number, part in findings.parts.items():
        lost = ["maps"] * part.lost_maps + [f"{len(part.lost_images)} images"] * bool(part.lost_images)
        if lost:
            note(f"part {number} lacks {' and '.join(lost)}: its rows are scanned again, its results stay")


def _scan(work: Work, found: Tally, note: Note, progress: Progress, opener: Opener) -> Tally:
    """Scan in this thread, while another reads and prepares the next batch and a third writes the ones before."""
    job = work.job
    images = found.images + sum(extent.images for extent in work.extents.values())
    if found.images:
        note(f"{found.images} of {images} images are done already")
    _stop_at_too_many(job, found)
    with progress(images, found.images) as advance:
        advance(0, found.error)
        graphs = opener(job.bundle, job.execution, note)
        if graphs.remark:
            note(graphs.remark)
        ceiling = BatchCeiling(job.execution.batch_size or graphs.usual_batch, note)
        scanner = Scanner(job.bundle, graphs, job.measurement, ceiling)
        todo = batches(job.manifest, list(work.extents.items()), scanner.prepare, ceiling)
        counted = found
        with contextlib.closing(made_ahead(todo)) as ready, Behind(functools.partial(write_parts, work)) as writer:
            for batch in ready:
                scanned = ScannedBatch(batch, tuple(scanner.scan(batch.prepared)))
                writer.put(scanned)
                advance(batch.images, scanned.fates.error)
                counted += scanned.fates
                _stop_at_too_many(job, counted)
            return writer.finish()


def _stop_at_too_many(job: Job, counted: Tally) -> None:
    if job.max_errors is not None and counted.error > job.max_errors:
        raise TooManyErrors(
            f"{counted.error} images failed, more than --max-errors {job.max_errors}: {'; '.join(counted.reasons)}"
        )
