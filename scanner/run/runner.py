"""A run: what a share's parts lack is scanned and committed; once all parts of all shares are there, the run is marked.

Whatever dies when, the same call does the rest, and nothing twice.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import pyarrow as pa

from memscan.scanner.bundle import Bundle
from memscan.scanner.errors import MemscanError, TooManyErrors
from memscan.scanner.input.manifest import Census
from memscan.scanner.model.graphs import Graphs, open_graphs
from memscan.scanner.notes import Note
from memscan.scanner.notes import note as log_note
from memscan.scanner.notes import warn as log_warning
from memscan.scanner.results.extent import Extent
from memscan.scanner.results.finished import Findings, finished_parts
from memscan.scanner.results.folder import OutputFolder
from memscan.scanner.results.run_record import RunRecord, adopt_record, held_record
from memscan.scanner.results.store_at import store_at
from memscan.scanner.results.stray_maps import drop_stray_maps
from memscan.scanner.results.tally import Tally
from memscan.scanner.results.torn import Torn
from memscan.scanner.run.batches import batches
from memscan.scanner.run.complete import complete
from memscan.scanner.run.cut import Bounds, Survey, survey
from memscan.scanner.run.estimate import Estimate, measure_batch
from memscan.scanner.run.job import Job
from memscan.scanner.run.manifest_rows import ManifestRows
from memscan.scanner.run.part import ScannedBatch, Work, write_parts
from memscan.scanner.run.progress import Advance, show_progress
from memscan.scanner.run.pulse import PulseWriter, first_pulse, pulsing
from memscan.scanner.run.scan import Scan
from memscan.scanner.run.share import claimed
from memscan.scanner.run.stages import Behind, made_ahead
from memscan.scanner.run.summary import Opened, by_records, write_summary
from memscan.scanner.run.ticks import Ticks
from memscan.scanner.samples import Rejected, Sample
from memscan.scanner.scanning.batch_ceiling import BatchCeiling
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
    """What a run would do: how much there is, on which device, and whether it continues one.

    `found` are the images of parts that are there, by their own word. `estimate` is None unless a batch was measured.
    """

    census: Census
    device: str
    resumes: bool
    found: Tally
    estimate: Estimate | None = None


def preview(job: Job, *, measure: bool = False, note: Note = log_note) -> Outlook:
    """Check all that can be checked without writing anything.

    Args:
        measure: scan a batch, for an estimate of what the whole takes.

    Raises:
        UsageError: as `run`, except for what only the rows of finished parts can tell.
        EnvironmentFailed: the engine cannot be started.
    """
    folder = OutputFolder(store_at(job.out))
    held = held_record(folder, job.record)
    wanted = survey(job.manifest, _bounds(held or job.record))
    job.schema(job.record)
    found = Tally() if held is None else by_records(folder, held.fingerprint, len(wanted.parts))[0]
    graphs = open_graphs(job.bundle, job.execution)
    estimate = measure_batch(job, wanted, graphs, note) if measure else None
    return Outlook(wanted.census, graphs.device, held is not None, found, estimate)


def run(
    job: Job,
    *,
    note: Note,
    warn: Note = log_warning,
    progress: Progress = show_progress,
    opener: Opener = open_graphs,
) -> Summary:
    """Do what is left of a job's share.

    Args:
        note: is given lines that the user should read.
        warn: is given those that need attention: what of the folder was damaged.
        progress: as `show_progress`.
        opener: as `open_graphs`.

    Raises:
        UsageError: a carried column has the name of a result column; the output folder cannot be written, holds another
            run, or results of other rows; the manifest cannot be read to its end, or changes meanwhile.
        TooManyErrors: more images failed than the job allows.
        EnvironmentFailed: another process works on the share; the device failed.
        OSError: the disk failed, or is full.
    """
    folder = OutputFolder(store_at(job.out, job.share.name))
    held = held_record(folder, job.record)
    bounds = _bounds(held or job.record)
    wanted = survey(job.manifest, bounds, job.share)
    job.schema(job.record)  # refuses what cannot be carried before anything is written
    with claimed(folder.store, job.share, note):
        record = adopt_record(folder, job.record)
        job = job.keeping(record)
        if _bounds(record) != bounds:
            wanted = survey(job.manifest, _bounds(record), job.share)
        if record.part_rows != job.part_rows:
            note(f"{job.out} is cut into parts of {record.part_rows} rows, and stays so")
        schema = job.schema(record)
        extents = {number: wanted.parts[number] for number in job.share.parts(len(wanted.parts))}
        findings = _find(job, folder, schema, extents, wanted, known=held is not None)
        stays = {n: part for n, part in findings.whole.items() if not (job.retry_errors and part.tally.error)}
        left = {number: extent for number, extent in extents.items() if number not in stays}
        found = sum((part.tally for part in stays.values()), Tally())
        missing = scanned = 0
        writer, opened = _pulse_writer(job, folder, wanted, extents, found), Opened()
        if left or findings.torn or not folder.complete:
            folder.unmark_complete()
            _tidy(job, folder, findings, warn)
            work = Work(job, folder, schema, left, {n: findings.parts[n] for n in left if n in findings.parts})
            try:
                with pulsing(writer):
                    total, scanned = _scan(work, found, note, progress, opener, writer, opened)
                    missing = complete(folder, wanted, extents, record.fingerprint.encode(), job.measurement)
            except BaseException:
                with contextlib.suppress(OSError, MemscanError, Torn):  # the first error is the one to be said
                    write_summary(folder, job, wanted, writer.pulse, opened.graphs)
                raise
            write_summary(folder, job, wanted, writer.pulse, opened.graphs)
        else:
            total = found
            if not folder.summarized:
                with pulsing(writer):
                    pass
                write_summary(folder, job, wanted, writer.pulse, None)
    if missing:
        note(f"share {job.share.name} is done; {missing} of {len(wanted.parts)} parts are left to the other shares")
    return Summary(total, total.images - scanned, complete=not missing)


def _bounds(record: RunRecord) -> Bounds:
    return Bounds(record.part_rows, record.part_images)


def _pulse_writer(
    job: Job, folder: OutputFolder, wanted: Survey, extents: Mapping[int, Extent], found: Tally
) -> PulseWriter:
    pulse = first_pulse(
        job.share.name,
        parts=len(wanted.parts),
        images=wanted.census.images,
        share_images=sum(extent.images for extent in extents.values()),
        found=found.images,
        failed=found.error,
    )
    labels = {"run": job.record.fingerprint[:12], "model": job.bundle.model_id}
    return PulseWriter(folder.store, pulse, metrics=job.openmetrics, labels=labels)


def _find(
    job: Job, folder: OutputFolder, schema: pa.Schema, extents: Mapping[int, Extent], wanted: Survey, *, known: bool
) -> Findings:
    rows, count = ManifestRows(job.manifest), len(wanted.parts)
    return finished_parts(
        folder,
        schema,
        rows,
        extents,
        count,
        known=known,
        with_maps=job.measurement.save_maps,
        with_images=job.measurement.save_images,
        verify=job.verify_outputs,
    )


def _tidy(job: Job, folder: OutputFolder, findings: Findings, warn: Note) -> None:
    for name in findings.torn:
        aside = folder.store.set_aside(name)
        warn(f"{folder.path / name} is damaged: it is kept as {aside}, and its rows are scanned again")
    for number, part in findings.parts.items():
        lost = ["maps"] * part.lost_maps + [f"{len(part.lost_images)} images"] * bool(part.lost_images)
        if lost:
            warn(f"part {number} lacks {' and '.join(lost)}: its rows are scanned again, its results stay")
        if part.tally.error and job.measurement.save_maps and not part.lost_maps:
            drop_stray_maps(folder.store, number)


def _scan(
    work: Work, found: Tally, note: Note, progress: Progress, opener: Opener, writer: PulseWriter, opened: Opened
) -> tuple[Tally, int]:
    """Scan in this thread, while another reads and prepares the next batch and a third writes the ones before.

    Args:
        writer: is told of progress, besides `progress`.
        opened: takes in the graphs.

    Returns:
        The fate of all images, with those that were `found`; and how many were scanned for it.
    """
    job, left, parts = work.job, work.images_left(), list(work.extents.items())
    images = found.images + sum(extent.images for _, extent in parts)
    if parts and left < images:
        note(f"{images - left} of {images} images are done already")
    _stop_at_too_many(job, found)
    if not left:
        untouched = batches(job.manifest, parts, _unprepared, BatchCeiling(1, note), work.wanted)
        total = found + write_parts(work, (ScannedBatch(batch, ()) for batch in untouched))
        return total, 0
    with progress(images, images - left) as show:
        show(0, found.error)

        def advance(count: float, errors: int) -> None:
            show(count, errors)
            writer.advance(count, errors)

        graphs = opened.graphs = opener(job.bundle, job.execution, note)
        if graphs.remark:
            note(graphs.remark)
        ceiling = BatchCeiling(job.execution.batch_size or graphs.usual_batch, note)
        scan = Scan(job.bundle, graphs, job.measurement, ceiling)
        ticks = Ticks(advance, scan.calls, ceiling)
        graphs.called = ticks.tick
        todo = batches(job.manifest, parts, scan.prepare, ceiling, work.wanted)
        counted = found
        with contextlib.closing(made_ahead(todo)) as ready, Behind(functools.partial(write_parts, work)) as behind:
            for batch in ready:
                ticks.begin(len(batch.prepared))
                scanned = scan(batch)
                behind.put(scanned)
                ticks.end(batch.images, scanned.fates.error)
                counted += scanned.fates
                _stop_at_too_many(job, counted)
            total = found + behind.finish()
        return total, left


def _unprepared(samples: Sequence[Sample]) -> tuple[Rejected, ...]:
    assert not samples, f"row {samples[0].row} is not to be scanned"
    return ()


def _stop_at_too_many(job: Job, counted: Tally) -> None:
    if job.max_errors is not None and counted.error > job.max_errors:
        raise TooManyErrors(
            f"{counted.error} images failed, more than --max-errors {job.max_errors}: {'; '.join(counted.reasons)}"
        )
